// Rows of buttons that are one stop of the Tab key.

/** Makes a row of buttons one stop of the Tab key; the arrows go from one button to the next. */
export function rove(row, buttons) {
  const enter = (chosen) => buttons().forEach((button) => (button.tabIndex = button === chosen ? 0 : -1));
  enter(buttons()[0]);
  row.onfocusin = (event) => buttons().includes(event.target) && enter(event.target);
  row.onkeydown = (event) => {
    const all = buttons().filter((button) => !button.disabled);
    const at = all.indexOf(row.getRootNode().activeElement);
    const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: -1 };
    if (!(event.key in steps) || at < 0) return;
    all.at(steps[event.key] % all.length).focus();
    event.preventDefault();
    event.stopPropagation();
  };
}
