const table = document.querySelector("#ranked");
const search = document.querySelector("#search");
const count = document.querySelector("#count");
if (table && search) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    let shown = 0;
    rows.forEach((row, n) => { row.hidden = !texts[n].includes(wanted); shown += !row.hidden; });
    count.textContent = `${shown} of ${rows.length} captions`;
  });
  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[head.cellIndex].dataset.value ?? "";
      const numbers = rows.some((row) => value(row) !== "" && !isNaN(value(row)));
      const compare = (a, b) => numbers
        ? Number(a === "" ? -Infinity : a) - Number(b === "" ? -Infinity : b)
        : a.localeCompare(b);
      rows.slice().sort((a, b) => (down ? -1 : 1) * compare(value(a), value(b)))
        .forEach((row) => body.append(row));
    });
  }
}
