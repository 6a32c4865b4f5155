// Enlarge images: the training images of a caption beside one of its generated images at a time.
{
  const MOST_REFERENCES = 2;
  const viewer = document.getElementById("viewer");
  const [panes, title, status] = [".panes", ".title bdi", "[role=status]"].map((of) => viewer.querySelector(of));
  let references = [];
  let choices = [];
  let at = 0;

  const pane = (picture) => {
    const { src, alt } = picture.querySelector("img");
    const figure = document.createElement("figure");
    const note = document.createElement("figcaption");
    note.textContent = picture.dataset.title;
    figure.append(Object.assign(new Image(), { src, alt }), note);
    return figure;
  };
  const show = () => {
    const chosen = choices.slice(at, at + 1);
    panes.replaceChildren(...[...references, ...chosen].map(pane));
    status.textContent = choices.length > 1 ? `${at + 1} of ${choices.length}` : "";
    for (const button of viewer.querySelectorAll("[data-step]")) button.hidden = choices.length < 2;
  };
  const step = (by) => {
    if (choices.length < 2) return;
    at = (at + by + choices.length) % choices.length;
    show();
  };
  const open = (picture) => {
    const pictures = [...picture.closest(".pictures").querySelectorAll("[data-picture]")];
    references = picture.dataset.picture === "reference" ? [picture]
      : pictures.filter((one) => one.dataset.picture === "reference").slice(0, MOST_REFERENCES);
    choices = pictures.filter((one) => one.dataset.picture === "generated");
    at = Math.max(0, choices.indexOf(picture));
    // The caption is the first text of the row, or of a page about one caption.
    title.textContent = picture.closest("tbody, main").querySelector("bdi").textContent.trim();
    show();
    viewer.showModal();
    viewer.querySelector("[data-close]").focus();
  };

  document.addEventListener("click", (event) => {
    const picture = event.target.closest("[data-picture]");
    if (picture && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      open(picture);
    } else if (event.target === viewer || event.target.closest("#viewer [data-close]")) {
      viewer.close();
    } else {
      const button = event.target.closest("#viewer [data-step]");
      if (button) step(Number(button.dataset.step));
    }
  });
  viewer.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) step(by);
    // The keys of the page behind are not those of the viewer.
    event.stopPropagation();
  });
  for (const picture of document.querySelectorAll("button[data-picture]")) picture.disabled = false;
}
