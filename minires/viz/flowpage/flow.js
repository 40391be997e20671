"use strict";
// The walk back through the network. The page is whole without it: it reveals the controls,
// lights up the block that they point at, and writes the numbers of that block.
(() => {
  const source = document.getElementById("flow-data");
  if (!source) return;
  const { scale, networks, views } = JSON.parse(source.textContent);
  const find = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];

  const blockSlider = find("block");
  const stepSlider = find("step"); // null where nothing was recorded
  const switches = all('input[name="view"]');
  const drawings = all(".drawing");
  const spots = all(".spot");
  const rows = all("#readout tbody tr");
  const stillness = matchMedia("(prefers-reduced-motion: reduce)");

  let view = Object.keys(views)[0];
  const step = () => (view === "training" ? Number(stepSlider.value) : 0);
  const block = () => Number(blockSlider.value) - 1; // from 0, the stem first
  const moment = () => views[view][step()];

  // Four digits, as in the tables of the page.
  function number(value) {
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-4 || size >= 1e4)) {
      return value.toExponential(3).replace(/\.?0+e/, "e");
    }
    return String(Number(value.toPrecision(4)));
  }
  const forms = {
    number,
    percent: (value) => `${(100 * value).toFixed(1)}%`,
    times: (value) => `×${number(value)}`,
  };
  const written = (value, form) =>
    value === null || value === undefined ? "-" : forms[form](value);

  // As Scale.width in views.py, which draws the picture that is there without script.
  function width(norm) {
    if (!norm) return scale.thin;
    const part = (Math.log10(norm) - scale.low) / (scale.high - scale.low);
    return scale.thin + (scale.wide - scale.thin) * Math.min(Math.max(part, 0), 1);
  }

  function showView() {
    for (const drawing of drawings) drawing.hidden = drawing.dataset.view !== view;
    if (!stepSlider) return;
    find("steps").hidden = view !== "training";
    if (view !== "training") stop(training);
    else showStep();
  }

  function showStep() {
    const now = moment();
    const text = `${now.step} (${step() + 1} of ${views.training.length} recorded)`;
    find("step-text").textContent = text;
    stepSlider.setAttribute("aria-valuetext", `step ${text}`);
    const drawing = drawings.find((one) => one.dataset.view === "training");
    drawing.querySelector(".when").textContent = `, step ${now.step}`;
    for (const edge of drawing.querySelectorAll(".edge")) {
      const { network, block, quantity } = edge.dataset;
      const norm = now.networks[network][quantity][block];
      edge.setAttribute("stroke-width", width(norm).toFixed(2));
      edge.classList.toggle("missing", !norm);
    }
  }

  function showBlock() {
    const i = block();
    const now = moment().networks;
    const names = new Set(networks.map((one) => one.blocks[i]?.name).filter(Boolean));
    const text = `${i + 1} of ${blockSlider.max}: ${[...names].join(" / ")}`;
    find("block-text").textContent = text;
    blockSlider.setAttribute("aria-valuetext", `block ${text}`);
    for (const spot of spots) spot.classList.toggle("current", spot.dataset.block === String(i));
    for (const row of rows) {
      const { quantity, form } = row.dataset;
      row.querySelectorAll("td").forEach((cell, n) => {
        const values = now[n][quantity];
        cell.textContent = written(Array.isArray(values) ? values[i] : values, form);
      });
    }
    const said = networks.map((network, n) => {
      if (!network.blocks[i]) return `${network.name}: no such block`;
      const { grad_norm: norm, share } = now[n];
      if (norm[i] === null) return `${network.name}: not measured at the input`;
      const over = share[i] === null ? "" : `, ${written(share[i], "percent")} over the skip`;
      return `${network.name}: ${written(norm[i], "number")} at the input${over}`;
    });
    find("said").textContent = `Block ${text}. ${said.join("; ")}.`;
    find("back").disabled = i === 0;
    bringIntoView();
  }

  // The drawing scrolls sideways in its own box; the page stays where the reader left it.
  function bringIntoView() {
    const spot = drawings.find((one) => !one.hidden)?.querySelector(".spot.current rect");
    const box = spot?.closest(".card");
    if (!box || box.scrollWidth <= box.clientWidth) return;
    const inner = spot.getBoundingClientRect();
    const outer = box.getBoundingClientRect();
    const by = inner.left + inner.width / 2 - outer.left - outer.width / 2;
    box.scrollBy({ left: by, behavior: stillness.matches ? "instant" : "smooth" });
  }

  function setBlock(value) {
    blockSlider.value = String(value);
    showBlock();
  }

  // Playing: a timer that moves a slider until its end; the button says what it will do next.
  const walking = { button: find("walk"), label: "Walk back", slider: blockSlider, by: -1 };
  const training = { button: find("train"), label: "Play training", slider: stepSlider, by: 1 };

  function stop(play) {
    clearInterval(play.timer);
    play.timer = undefined;
    if (play.button) play.button.textContent = play.label;
    find("said").setAttribute("aria-live", "polite");
  }

  function start(play, show) {
    const { slider } = play;
    const end = play.by > 0 ? slider.max : slider.min;
    if (slider.value === end) slider.value = play.by > 0 ? slider.min : slider.max;
    play.button.textContent = "Pause";
    find("said").setAttribute("aria-live", "off"); // nobody can listen as fast as it moves
    show();
    play.timer = setInterval(() => {
      slider.value = String(Number(slider.value) + play.by);
      if (slider.value === end) stop(play);
      show();
    }, 600);
  }

  function showTraining() {
    showStep();
    showBlock();
  }

  for (const [play, show] of [[walking, showBlock], [training, showTraining]]) {
    play.slider?.addEventListener("input", () => { stop(play); show(); });
    play.button?.addEventListener("click", () => (play.timer ? stop(play) : start(play, show)));
  }
  find("back").addEventListener("click", () => { stop(walking); setBlock(block()); });
  for (const choice of switches) {
    choice.addEventListener("change", () => { view = choice.value; showView(); showBlock(); });
  }
  for (const drawing of drawings) {
    drawing.addEventListener("click", (event) => {
      const place = event.target.closest("[data-block]");
      if (!place) return;
      stop(walking);
      setBlock(Number(place.dataset.block) + 1);
    });
  }

  // Paper cannot be opened with a click.
  const closed = [];
  addEventListener("beforeprint", () => {
    for (const one of all("details:not([open])")) { one.open = true; closed.push(one); }
  });
  addEventListener("afterprint", () => { for (const one of closed.splice(0)) one.open = false; });

  for (const one of all(".bench")) one.hidden = false;
  showView();
  showBlock();
})();
