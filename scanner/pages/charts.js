for (const place of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(place.querySelector("script").textContent);
  // ast: expressions are interpreted, so that the page's policy can forbid eval.
  vegaEmbed(place, spec, { renderer: "svg", actions: false, ast: true });
}
