// Draw charts as wide as the page; panels that are too narrow side by side go below each other.
const LEAST_PANEL = 230;
const across = (spec, room) => {
  const most = spec.concat ? spec.columns ?? spec.concat.length : spec.hconcat ? spec.hconcat.length : 1;
  return Math.min(most, Math.max(1, Math.floor(room / LEAST_PANEL)));
};
const resize = (panel, width) => typeof panel.width === "number" ? { ...panel, width } : panel;
const arrange = (spec, columns, width) => {
  if (spec.concat) return { ...spec, columns, concat: spec.concat.map((one) => resize(one, width)) };
  if (spec.vconcat) return { ...spec, vconcat: spec.vconcat.map((one) => resize(one, width)) };
  if (!spec.hconcat) return resize(spec, width);
  const { hconcat, ...rest } = spec;
  if (columns === hconcat.length) return { ...rest, hconcat: hconcat.map((one) => resize(one, width)) };
  // Side by side, the panels share the labels of the first.
  const y = hconcat[0].encoding?.y;
  const labeled = ({ encoding, ...one }) =>
    resize(y && encoding?.y?.axis === null
      ? { ...one, encoding: { ...encoding, y: { ...encoding.y, axis: y.axis } } }
      : { ...one, ...(encoding && { encoding }) }, width);
  return { ...rest, vconcat: hconcat.map(labeled) };
};
const drawn = async (place, spec, room) => {
  const columns = across(spec, room);
  const embed = async (width) => {
    // ast: interpret expressions, since the page's content security policy forbids eval.
    await vegaEmbed(place, arrange(spec, columns, width), { renderer: "svg", actions: false, ast: true });
    return place.querySelector("svg").viewBox.baseVal.width;
  };
  // Labels, titles and gaps take the rest: it is measured, since it depends on fonts and values.
  const first = Math.max(40, room / columns - 60);
  const rest = (await embed(first)) - columns * first;
  const width = Math.max(40, Math.floor((room - rest) / columns));
  if (Math.abs(width - first) > 1) await embed(width);
};
for (const place of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(place.querySelector("script").textContent);
  let [wanted, last, busy] = [0, 0, Promise.resolve()];
  new ResizeObserver(() => {
    wanted = place.closest("figure").clientWidth;
    busy = busy.then(async () => {
      if (wanted === last || !wanted) return;
      last = wanted;
      await drawn(place, spec, last);
    }).catch(console.error);
  }).observe(place.closest("figure"));
}
