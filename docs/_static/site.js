// The two pictures of the site that move: codecs beside the original, and the explorer of chapter 01.
// Both read a description that lies in the page and pictures that were computed before: no network, no kernel.
const made = new URL("made/", document.currentScript.src);

function add(parent, tag, properties = {}, label = "") {
  const element = Object.assign(document.createElement(tag), properties);
  if (label) {
    const around = parent.appendChild(document.createElement("label"));
    around.append(label + " ");
    parent = around;
  }
  return parent.appendChild(element);
}

function choice(parent, label, names) {
  const select = add(parent, "select", {}, label);
  names.forEach((name, i) => add(select, "option", { value: i, textContent: name }));
  return select;
}

function compare(block, pictures) {
  const controls = add(block, "p", { className: "controls" });
  const codecs = Object.keys(pictures[0].codecs);
  const picture = choice(controls, "Picture", pictures.map((one) => one.name));
  const sides = [choice(controls, "Left", codecs), choice(controls, "Right", codecs)];
  sides[1].value = 1;
  const stage = add(block, "div", { className: "stage" });
  const images = [add(stage, "img", { className: "left" }), add(stage, "img", { className: "right" })];
  const border = add(block, "input", { type: "range", min: 0, max: 100, value: 50, step: 0.5 }, "Border");
  const said = add(block, "p", { className: "said" });

  function move() {
    stage.style.setProperty("--border", border.value + "%");
  }
  function show() {
    const { name, size, codecs: facts } = pictures[picture.value];
    stage.style.aspectRatio = size.join(" / ");
    stage.style.maxWidth = size[0] + "px";
    sides.forEach((side, i) => {
      images[i].src = new URL(`compare/${name}_${side.value}.webp`, made);
      images[i].alt = `${name}, ${codecs[side.value]}`;
    });
    const words = sides.map((side) => `${codecs[side.value]} (${facts[codecs[side.value]]})`);
    said.textContent = `Left: ${words[0]}. Right: ${words[1]}.`;
  }
  function drag(event) {
    if (!event.buttons) return;
    const box = stage.getBoundingClientRect();
    border.value = (100 * (event.clientX - box.left)) / box.width;
    move();
  }
  [picture, ...sides].forEach((select) => select.addEventListener("change", show));
  border.addEventListener("input", move);
  ["pointerdown", "pointermove"].forEach((kind) => stage.addEventListener(kind, drag));
  show();
  move();
}

function explore(block, steps) {
  const controls = add(block, "p", { className: "controls" });
  const sliders = Object.entries(steps).map(([name, values]) => {
    const slider = add(controls, "input", { type: "range", min: 0, max: values.length - 1, value: values.length - 2 }, name);
    return { slider, values, said: add(slider.parentElement, "output") };
  });
  add(block, "p", { textContent: "On this page the sliders show steps that were computed before." });
  const image = add(block, "img");

  function show() {
    const now = sliders.map(({ slider, values }) => values[slider.value]);
    sliders.forEach(({ said }, i) => (said.textContent = now[i]));
    image.src = new URL(`explorer/${now.join("_").replace("/", "-")}.jpg`, made);
    image.alt = `Coefficients kept and picture rebuilt: ${now[0]}, ${now[1]} levels, ${now[2]} % kept`;
  }
  sliders.forEach(({ slider }) => slider.addEventListener("input", show));
  show();
}

document.addEventListener("DOMContentLoaded", () => {
  // some of the theme's controls have no name that a screen reader can say, or one that differs from what is seen
  document.querySelectorAll(".bd-sidenav summary").forEach((arrow) => arrow.setAttribute("aria-label", "Pages below"));
  const named = document.querySelectorAll(".search-button-field, details.hide > summary");
  named.forEach((control) => control.removeAttribute("aria-label"));
  for (const [name, build] of Object.entries({ compare, explorer: explore })) {
    document.querySelectorAll(`div.${name}`).forEach((block) => build(block, JSON.parse(block.firstElementChild.textContent)));
  }
});
