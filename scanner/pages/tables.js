// On narrow screens each row becomes a block, with the heading in front of each value.
for (const table of document.querySelectorAll(".wide table")) {
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const body of table.tBodies)
    for (const row of body.rows)
      for (const cell of row.cells) cell.dataset.name = names[cell.cellIndex];
  table.classList.add("stacks");
}
