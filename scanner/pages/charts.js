// On narrow screens, stack panels that are otherwise side by side.
const narrow = matchMedia("(max-width: 40rem)");
const LABELS = 100;
const fit = (panel, room) =>
  typeof panel.width === "number" ? { ...panel, width: Math.min(panel.width, room - LABELS) } : panel;
const stack = (spec, room) => {
  if (spec.concat) return { ...spec, columns: 1, concat: spec.concat.map((one) => fit(one, room)) };
  if (spec.vconcat) return { ...spec, vconcat: spec.vconcat.map((one) => fit(one, room)) };
  if (!spec.hconcat) return fit(spec, room);
  const { hconcat, ...rest } = spec;
  // Side by side, the panels share the labels of the first.
  const y = hconcat[0].encoding?.y;
  const labelled = ({ encoding, ...one }) =>
    fit(y && encoding?.y?.axis === null
      ? { ...one, encoding: { ...encoding, y: { ...encoding.y, axis: y.axis } } }
      : { ...one, ...(encoding && { encoding }) }, room);
  return { ...rest, vconcat: hconcat.map(labelled) };
};
for (const place of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(place.querySelector("script").textContent);
  const draw = () => {
    const drawn = narrow.matches ? stack(spec, place.closest("main").clientWidth - 32) : spec;
    // ast: interpret expressions, since the page's content security policy forbids eval.
    vegaEmbed(place, drawn, { renderer: "svg", actions: false, ast: true });
  };
  narrow.addEventListener("change", draw);
  draw();
}
