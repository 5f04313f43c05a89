// The page of `mtnets serve`: drawings, a curve, a table. Plain JavaScript; it asks this server alone.

const find = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const small = (share) => `${100 * share < 1 ? Number((100 * share).toPrecision(2)) : (100 * share).toFixed(1)} %`;

// --- requests

let token = "";

class Problem extends Error {}

/** The answer to a request, as a value of JSON. Raises a Problem with the sentence of the server. */
async function ask(method, path, body) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  for (let tries = 0; ; tries++) {
    let answer;
    try {
      answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch {
      throw new Problem("The server does not answer; is it still running?");
    }
    if (answer.status === 401) find("token-form").hidden = false;
    if (answer.status === 503 && tries < 3) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * Number(answer.headers.get("retry-after") ?? 1)));
      continue;
    }
    if (answer.status === 204) return null;
    const value = await answer.json().catch(() => ({ detail: `The server answered ${answer.status}.` }));
    if (!answer.ok) throw new Problem(value.detail);
    return value;
  }
}

/** Calls an asynchronous function when nothing was asked for some time, and never twice at once: the last call counts. */
function latest(milliseconds, work, failed) {
  let timer, running = false, again = false;
  async function run() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      await work();
    } catch (error) {
      failed(error instanceof Problem ? error.message : `${error}`);
      if (!(error instanceof Problem)) console.error(error);
    }
    running = false;
    if (again) {
      again = false;
      run();
    }
  }
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, milliseconds);
  };
}

/** A task that is replaced by the next one. */
class Task {
  #id = null;
  async learn(request) {
    const made = await ask("POST", "v1/tasks", request);
    this.forget();
    this.#id = made.id;
    return made;
  }
  get known() {
    return this.#id !== null;
  }
  ask(what, x) {
    return ask("POST", `v1/tasks/${this.#id}/${what}`, { x });
  }
  forget() {
    if (this.#id !== null) ask("DELETE", `v1/tasks/${this.#id}`).catch(() => {});
    this.#id = null;
  }
}

function tell(element, text, problem = false) {
  element.textContent = text;
  element.classList.toggle("problem", problem);
}

// --- what both pictures need

/** The context of a canvas, as many pixels as the screen shows, in units of CSS pixels. */
function sharp(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return { context, width, height };
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Strips of bars: how far the units of each layer moved. */
function showMoved(place, layers) {
  place.replaceChildren(
    ...layers.map(({ layer, units }) => {
      const strip = document.createElement("div");
      strip.className = "strip";
      const most = Math.max(...units);
      const mean = units.reduce((sum, unit) => sum + unit, 0) / units.length;
      const text = `${layer}: ${units.length} unit${units.length === 1 ? "" : "s"}, ${small(mean)} on average, ${small(most)} at most`;
      const label = document.createElement("div");
      label.textContent = text;
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", text);
      strip.append(label, canvas);
      strip.redraw = () => {
        const { context, width, height } = sharp(canvas);
        const step = width / units.length;
        context.fillStyle = colour("accent");
        units.forEach((unit, i) => {
          const bar = most > 0 ? (unit / most) * (height - 2) : 0;
          context.fillRect(i * step + step * 0.1, height - bar, Math.max(1, step * 0.8), bar);
        });
      };
      return strip;
    }),
  );
  for (const strip of place.children) strip.redraw();
}

function row(kind, cells) {
  const line = document.createElement("tr");
  cells.forEach((cell, i) => {
    const element = document.createElement(kind === "head" || i === 0 ? "th" : "td");
    element.scope = kind === "head" ? "col" : "row";
    element.textContent = cell;
    line.append(element);
  });
  return line;
}

/** Fills a table, whose caption stays. */
function fill(table, head, rows) {
  const top = document.createElement("thead"), body = document.createElement("tbody");
  top.append(row("head", head));
  body.append(...rows.map((cells) => row("body", cells)));
  table.replaceChildren(...[...table.children].filter((child) => child.tagName === "CAPTION"), top, body);
}

// --- drawings

// Omniglot's drawings are 105 pixels wide. Their pen, the longer side of their strokes and their middle, nearly: means
// that `benchmarks/drawings.py` measures, beside what drawings that pass through here score (results/drawings.json).
const SIDE = 105, PEN = 5, SPAN = 62, MIDDLE = 50.5;
const LEAST = 0.08; // of the box: a smaller drawing, such as a dot, is not made larger than that would be

/** Strokes `[[x, y], …]` in units of the box, as the drawings of the training were: `{scale, x, y}` of SIDE pixels. */
function placed(strokes) {
  const points = strokes.flat();
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = SPAN / Math.max(right - left, bottom - top, LEAST);
  return { scale, x: MIDDLE - (scale * (left + right)) / 2, y: MIDDLE - (scale * (top + bottom)) / 2 };
}

function trace(context, stroke, { scale, x, y }) {
  context.beginPath();
  stroke.forEach((point, i) => context[i ? "lineTo" : "moveTo"](scale * point[0] + x, scale * point[1] + y));
  if (stroke.length === 1) context.lineTo(scale * stroke[0][0] + x + 0.01, scale * stroke[0][1] + y);
  context.stroke();
}

/** Strokes as an image file in base64: black on white without grey, as the files of Omniglot are. */
export function toImage(strokes) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SIDE, SIDE);
  Object.assign(context, { strokeStyle: "#000", lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  const place = placed(strokes);
  for (const stroke of strokes) trace(context, stroke, place);
  const image = context.getImageData(0, 0, SIDE, SIDE);
  for (let i = 0; i < image.data.length; i += 4) {
    const light = image.data[i] > 127 ? 255 : 0;
    image.data.set([light, light, light, 255], i);
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL("image/png");
}

/** A box to draw in. */
class Pad {
  constructor(label, changed) {
    this.strokes = [];
    this.changed = changed;
    this.element = find("canvas-template").content.firstElementChild.cloneNode(true);
    this.canvas = this.element.querySelector("canvas");
    this.label = label;
    this.element.querySelector(".undo").addEventListener("click", () => this.#set(this.strokes.slice(0, -1)));
    this.element.querySelector(".clear").addEventListener("click", () => this.#set([]));
    this.canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.#go(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => this.#end());
    this.canvas.addEventListener("keydown", (event) => {
      if (event.key === "Backspace") this.#set(this.strokes.slice(0, -1));
    });
    this.draw();
  }
  set label(text) {
    this.canvas.setAttribute("aria-label", `${text} (drawn with mouse, pen or finger; Backspace takes a stroke back)`);
    this.element.querySelector(".undo").setAttribute("aria-label", `Undo a stroke: ${text}`);
    this.element.querySelector(".clear").setAttribute("aria-label", `Clear: ${text}`);
  }
  get empty() {
    return this.strokes.length === 0;
  }
  load(strokes) {
    this.strokes = strokes;
    this.draw();
  }
  #set(strokes) {
    this.load(strokes);
    this.changed();
  }
  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (value) => Math.round(1e4 * Math.min(1, Math.max(0, value))) / 1e4;
    return [share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height)];
  }
  #begin(event) {
    if (event.button !== 0 || this.drawing !== undefined) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.drawing = event.pointerId;
    this.strokes = [...this.strokes, [this.#point(event)]];
    this.draw();
  }
  #go(event) {
    if (this.drawing !== event.pointerId) return;
    const events = event.getCoalescedEvents?.() ?? [];
    this.strokes.at(-1).push(...(events.length ? events : [event]).map((each) => this.#point(each)));
    this.draw();
    this.changed();
  }
  #end() {
    if (this.drawing === undefined) return;
    this.drawing = undefined;
    this.changed();
  }
  draw() {
    const { width } = this.canvas;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, width);
    Object.assign(context, { strokeStyle: "#000", lineWidth: (PEN * width) / SIDE, lineCap: "round", lineJoin: "round" });
    for (const stroke of this.strokes) trace(context, stroke, { scale: width, x: 0, y: 0 });
  }
}

/** A symbol: its name, and drawings of it. */
class Sign {
  constructor(name, drawings, changed, removed) {
    this.changed = changed;
    this.pads = [];
    this.element = document.createElement("section");
    this.element.className = "class";
    const head = document.createElement("div");
    head.className = "head";
    this.input = document.createElement("input");
    Object.assign(this.input, { value: name, maxLength: 40 });
    this.input.setAttribute("aria-label", "Name of the symbol");
    this.input.addEventListener("input", () => {
      this.#name();
      changed();
    });
    this.remove = document.createElement("button");
    Object.assign(this.remove, { type: "button", textContent: "×" });
    this.remove.addEventListener("click", () => removed(this));
    head.append(this.input, this.remove);
    this.more = document.createElement("button");
    Object.assign(this.more, { type: "button", textContent: "Another drawing of it" });
    this.more.addEventListener("click", () => this.#add([]));
    this.element.append(head, this.more);
    for (const strokes of drawings.length ? drawings : [[]]) this.#add(strokes);
  }
  get name() {
    return this.input.value.trim();
  }
  get drawings() {
    return this.pads.filter((pad) => !pad.empty).map((pad) => pad.strokes);
  }
  #add(strokes) {
    const pad = new Pad("", this.changed);
    pad.load(strokes);
    this.pads.push(pad);
    this.more.before(pad.element);
    this.#name();
  }
  #name() {
    this.element.setAttribute("aria-label", `Symbol ${this.name}`);
    this.remove.setAttribute("aria-label", `Remove symbol ${this.name}`);
    this.pads.forEach((pad, i) => (pad.label = `Drawing ${i + 1} of ${this.name}`));
  }
}

/** A set of drawings from a file's text. Raises a Problem for anything else. */
function readSet(text) {
  const share = (value) => typeof value === "number" && value >= 0 && value <= 1;
  const strokes = (value) =>
    Array.isArray(value) && value.length <= 500 &&
    value.every((s) => Array.isArray(s) && s.length > 0 && s.length <= 20000 &&
      s.every((point) => Array.isArray(point) && point.length === 2 && point.every(share)));
  let set;
  try {
    set = JSON.parse(text);
  } catch {
    throw new Problem("The file is no JSON; load one that this page saved.");
  }
  const classes = set?.kind === "mtnets drawings" && Array.isArray(set.classes) && set.classes.length <= 64;
  const good = classes && strokes(set.query ?? []) &&
    set.classes.every((each) => typeof each?.name === "string" && each.name.length <= 40 &&
      Array.isArray(each.drawings) && each.drawings.length <= 64 && each.drawings.every(strokes));
  if (!good) throw new Problem("The file is no set of drawings; load one that this page saved.");
  return set;
}

function drawings(learner) {
  const task = new Task(), result = find("drawing-result"), shares = find("drawing-shares");
  const details = find("drawing-details");
  let symbols = [];
  const failed = (text) => tell(result, text, true);

  const query = new Pad("The drawing to recognise", () => recognise());
  find("query").append(query.element);

  function examples() {
    const pairs = symbols.flatMap((symbol) => symbol.drawings.map((strokes) => [symbol.name, strokes]));
    return { learner: learner.name, x: pairs.map(([, strokes]) => toImage(strokes)), y: pairs.map(([name]) => name) };
  }

  /** What has to be done before there is something to learn; empty if nothing. */
  function missing() {
    const drawn = symbols.filter((symbol) => symbol.drawings.length);
    const names = drawn.map((symbol) => symbol.name);
    if (drawn.length < 2) return "Draw in two boxes above first.";
    if (names.includes("")) return "Give every symbol a name.";
    if (new Set(names).size < names.length) return "Two symbols have one name; rename one of them.";
    return "";
  }

  const learn = latest(250, async () => {
    const needed = missing();
    task.forget();
    shares.replaceChildren();
    if (needed) return tell(result, needed);
    tell(result, "Learning …");
    await task.learn(examples());
    tell(result, "Learned. Draw one of them.");
    recognise();
  }, failed);

  const recognise = latest(100, async () => {
    if (!task.known) return tell(result, missing() || "Learning …");
    if (query.empty) {
      shares.replaceChildren();
      return tell(result, "Learned. Draw one of them.");
    }
    const answer = await task.ask("predict", [toImage(query.strokes)]);
    show(answer);
    follow();
  }, failed);

  function show(answer) {
    const order = answer.probabilities[0].map((share, i) => [share, answer.classes[i]]).sort((a, b) => b[0] - a[0]);
    tell(result, `${order[0][1]}, ${percent(order[0][0])}`);
    shares.replaceChildren(
      ...order.map(([share, name]) => {
        const line = document.createElement("li"), label = document.createElement("span");
        const bar = document.createElement("meter"), number = document.createElement("span");
        Object.assign(label, { className: "name", textContent: name });
        Object.assign(bar, { max: 1, value: share });
        bar.setAttribute("aria-label", `Probability of ${name}`);
        Object.assign(number, { className: "number", textContent: percent(share) });
        line.append(label, bar, number);
        return line;
      }),
    );
  }

  const follow = latest(400, async () => {
    if (!details.open || missing() || query.empty) return;
    const steps = Math.min(20, Math.max(1, Math.round(Number(find("drawing-steps").value)) || 1));
    const path = new Task();
    await path.learn({ ...examples(), inner_steps: steps });
    try {
      const answer = await path.ask("steps", [toImage(query.strokes)]);
      const names = answer.predictions[0].classes;
      fill(find("drawing-steps-table"), ["symbol", ...answer.predictions.map((_, i) => `step ${i}`)],
        names.map((name, i) => [name, ...answer.predictions.map((each) => percent(each.probabilities[0][i]))]));
      showMoved(find("drawing-moved"), answer.moved);
    } finally {
      path.forget();
    }
  }, failed);

  function add(name, strokes = []) {
    const symbol = new Sign(name, strokes, learn, (gone) => {
      symbols = symbols.filter((each) => each !== gone);
      gone.element.remove();
      learn();
      find("add-class").focus();
    });
    symbols.push(symbol);
    find("classes").append(symbol.element);
    return symbol;
  }

  function load(set) {
    find("classes").replaceChildren();
    symbols = [];
    for (const each of set.classes) add(each.name, each.drawings);
    query.load(set.query ?? []);
    learn();
  }

  const fresh = () => load({ classes: ["A", "B", "C"].map((name) => ({ name, drawings: [] })) });
  find("add-class").addEventListener("click", () => {
    const names = symbols.map((symbol) => symbol.name);
    const free = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].find((name) => !names.includes(name));
    add(free ?? `${names.length + 1}`).input.focus();
  });
  find("clear-set").addEventListener("click", fresh);
  find("save-set").addEventListener("click", () => {
    const classes = symbols.map((symbol) => ({ name: symbol.name, drawings: symbol.drawings }));
    const text = JSON.stringify({ kind: "mtnets drawings", classes, query: query.strokes });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "drawings.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  find("load-set").addEventListener("click", () => find("set-file").click());
  find("set-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    try {
      if (file.size > 2e7) throw new Problem("The file is larger than any set; load one that this page saved.");
      load(readSet(await file.text()));
    } catch (error) {
      failed(error instanceof Problem ? error.message : "The file cannot be read.");
    }
  });
  details.addEventListener("toggle", follow);
  find("drawing-steps").addEventListener("change", follow);
  find("drawing-learner").textContent = `Learner: ${learner.name}. ${learner.about}`;
  fresh();
}

// --- a curve

const STEPS = [0, 1, 5, 10]; // inner steps after which the curve is shown
const DASHES = [[2, 5], [8, 6], [12, 3], []];
const WIDTHS = [1.5, 1.5, 2, 3];
const GRID = 101; // places of a curve
const MOST_POINTS = 27; // with the grid, a power of two for the server

function points(learner) {
  const canvas = find("plot"), result = find("point-result"), task = new Task();
  let dots = [], curves = [], cross = [0, 0];
  const xs = Array.from({ length: GRID }, (_, i) => -5 + (10 * i) / (GRID - 1));
  const failed = (text) => tell(result, text, true);

  function reach() {
    return 1.15 * Math.max(5, ...dots.map(([, y]) => Math.abs(y)));
  }
  function draw() {
    const { context, width, height } = sharp(canvas);
    const toX = (x) => ((x + 5.4) / 10.8) * width, toY = (y) => height / 2 - (y / reach()) * (height / 2);
    context.font = "12px system-ui, sans-serif";
    Object.assign(context, { strokeStyle: colour("line"), fillStyle: colour("soft"), lineWidth: 1 });
    for (const [x, y] of [[-5.4, 0], [0, -reach()]]) {
      context.beginPath();
      context.moveTo(toX(x), toY(y));
      context.lineTo(toX(x ? 5.4 : 0), toY(x ? 0 : reach()));
      context.stroke();
    }
    for (const x of [-5, 5]) context.fillText(`${x}`, toX(x) - 6, toY(0) + 14);
    for (const y of [-4, 4]) context.fillText(`${y}`, toX(0) + 5, toY(y) + 4);
    curves.forEach((ys, i) => {
      context.save();
      pen(context, i);
      context.beginPath();
      ys.slice(0, GRID).forEach((y, j) => context[j ? "lineTo" : "moveTo"](toX(xs[j]), toY(y)));
      context.stroke();
      context.restore();
    });
    context.fillStyle = colour("ink");
    for (const [x, y] of dots) {
      context.beginPath();
      context.arc(toX(x), toY(y), 4.5, 0, 2 * Math.PI);
      context.fill();
    }
    if (document.activeElement === canvas) {
      context.strokeStyle = colour("problem");
      const [x, y] = [toX(cross[0]), toY(cross[1])];
      context.strokeRect(x - 7, y, 14, 0);
      context.strokeRect(x, y - 7, 0, 14);
    }
  }
  function pen(context, i) {
    context.setLineDash(DASHES[i]);
    context.lineWidth = WIDTHS[i];
    context.strokeStyle = colour(i === STEPS.length - 1 ? "accent" : "soft");
  }
  function legend() {
    find("legend").replaceChildren(
      ...STEPS.map((step, i) => {
        const item = document.createElement("li"), sample = document.createElement("canvas");
        item.append(sample, `after ${step} step${step === 1 ? "" : "s"}`);
        item.redraw = () => {
          const { context, width, height } = sharp(sample);
          pen(context, i);
          context.beginPath();
          context.moveTo(0, height / 2);
          context.lineTo(width, height / 2);
          context.stroke();
        };
        return item;
      }),
    );
    for (const item of find("legend").children) item.redraw();
  }
  function redraw() {
    if (find("points").hidden) return;
    draw();
    for (const item of find("legend").children) item.redraw();
    for (const strip of find("point-moved").children) strip.redraw();
  }

  const learn = latest(150, async () => {
    const now = dots; // others may come while the server works
    let ys = [], units = [];
    const count = `${now.length} point${now.length === 1 ? "" : "s"}`;
    if (now.length) {
      tell(result, `${count}; learning … (the first time takes some seconds)`);
      await task.learn({ learner: learner.name, x: now.map(([x]) => [x]), y: now.map(([, y]) => y), inner_steps: STEPS.at(-1) });
      const answer = await task.ask("steps", [...xs, ...now.map(([x]) => x)].map((x) => [x]));
      ys = STEPS.map((step) => answer.predictions[step].numbers.map(([y]) => y));
      units = answer.moved;
    }
    curves = ys;
    const errors = ys.map((each) => now.reduce((sum, [, y], i) => sum + (each[GRID + i] - y) ** 2, 0) / now.length);
    const said = errors.map((error, i) => `${error.toPrecision(2)} after ${STEPS[i]}`).join(", ");
    tell(result, now.length ? `${count}; squared error on them ${said} steps.` : "No points yet.");
    fill(find("point-table"), ["x", "y", ...STEPS.map((step) => `after ${step}`)],
      now.map(([x, y], i) => [x, y, ...ys.map((each) => each[GRID + i].toFixed(2))]));
    showMoved(find("point-moved"), units);
    draw();
  }, failed);

  function add(x, y) {
    if (dots.length >= MOST_POINTS) return failed(`${MOST_POINTS} points are the most that this page takes.`);
    dots = [...dots, [Math.round(100 * x) / 100, Math.round(100 * y) / 100]];
    draw();
    learn();
  }
  function set(values) {
    dots = values;
    draw();
    learn();
  }
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 10.8 - 5.4;
    add(Math.min(5, Math.max(-5, x)), reach() * (1 - (2 * (event.clientY - box.top)) / box.height));
  });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-0.25, 0], ArrowRight: [0.25, 0], ArrowUp: [0, 0.25], ArrowDown: [0, -0.25] };
    const move = moves[event.key];
    if (move) {
      const within = (value, most) => Math.min(most, Math.max(-most, value));
      cross = [within(cross[0] + move[0], 5), within(cross[1] + move[1], reach())];
      tell(result, `Cross at x ${cross[0]}, y ${cross[1]}`);
    } else if (event.key === "Enter" || event.key === " ") add(...cross);
    else if (event.key === "Backspace") set(dots.slice(0, -1));
    else return;
    event.preventDefault();
    draw();
  });
  for (const name of ["focus", "blur"]) canvas.addEventListener(name, draw);
  find("point-form").addEventListener("submit", (event) => {
    event.preventDefault();
    add(Number(find("point-x").value), Number(find("point-y").value));
    event.target.reset();
    find("point-x").focus();
  });
  find("undo-point").addEventListener("click", () => set(dots.slice(0, -1)));
  find("clear-points").addEventListener("click", () => set([]));
  find("example-points").addEventListener("click", () => {
    const height = 1 + 4 * Math.random(), phase = Math.PI * Math.random(), round = (v) => Math.round(100 * v) / 100;
    const places = Array.from({ length: 10 }, () => -5 + 10 * Math.random());
    set(places.map((x) => [round(x), round(height * Math.sin(x - phase))]));
  });
  find("points").querySelector("details").addEventListener("toggle", redraw);
  find("point-learner").textContent = `Learner: ${learner.name}. ${learner.about}`;
  legend();
  return redraw;
}

// --- a table

const EXAMPLE = `temperature;day;visitors
12;weekday;81
15;weekday;103
18;weekend;240
21;weekday;150
24;weekend;301
14;weekend;205
27;weekday;198
23;weekday;
25;weekend;`;

/** The cells of a table by row; quotes may hold separators. The server reads it again, and more strictly. */
function cellsOf(text) {
  const first = text.split(/\r?\n/).find((line) => line) ?? "";
  const separator = [",", ";", "\t", "|"].reduce((best, each) => (first.split(each).length > first.split(best).length ? each : best));
  const rows = [];
  let cells = [], cell = "", quoted = false;
  const close = () => {
    cells.push(cell);
    if (cells.length > 1 || cells[0]) rows.push(cells);
    cells = [];
    cell = "";
  };
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[i + 1] === '"') cell += text[++i];
      else quoted = false;
    } else if (letter === '"') quoted = true;
    else if (letter === separator) {
      cells.push(cell);
      cell = "";
    } else if (letter === "\n") close();
    else if (letter !== "\r") cell += letter;
  }
  close();
  return rows;
}

function table() {
  const text = find("table-text"), target = find("table-target"), result = find("table-result");
  const notes = find("table-notes");
  function columns() {
    const [head = []] = cellsOf(text.value), chosen = target.value;
    target.replaceChildren(...head.map((name) => new Option(name, name)));
    target.value = head.includes(chosen) ? chosen : (head.at(-1) ?? "");
  }
  const predict = latest(0, async () => {
    tell(result, "Learning …");
    notes.replaceChildren();
    const answer = await ask("POST", "v1/tables", { text: text.value, target: target.value });
    const [head, ...rows] = cellsOf(text.value), place = head.indexOf(target.value);
    const said = new Map(answer.rows.map((row, i) => [row, i]));
    const shown = answer.predictions.map((each) => (typeof each === "number" ? Number(each.toPrecision(4)) : each));
    fill(find("table-answer"), head, rows);
    [...find("table-answer").tBodies[0].rows].forEach((line, i) => {
      if (!said.has(i)) return;
      const cell = line.cells[place], share = answer.probabilities?.[said.get(i)];
      cell.textContent = shown[said.get(i)] + (share === undefined ? "" : ` (${percent(share)})`);
      cell.className = "predicted";
    });
    notes.replaceChildren(...answer.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })));
    tell(result, `${target.value} of ${shown.length} row${shown.length === 1 ? "" : "s"}, learned from ${answer.learned_from}: ${shown.slice(0, 10).join(", ")}${shown.length > 10 ? " …" : ""}`);
  }, (sentence) => {
    find("table-answer").replaceChildren();
    tell(result, sentence, true);
  });
  function show(content, said) {
    text.value = content;
    columns();
    find("table-answer").replaceChildren();
    notes.replaceChildren();
    tell(result, said);
  }
  const example = () => show(EXAMPLE, "This is an example: press Predict, or put a table of your own in its place.");
  text.addEventListener("input", columns);
  find("table-predict").addEventListener("click", predict);
  find("table-example").addEventListener("click", example);
  find("table-clear").addEventListener("click", () => {
    show("", "");
    text.focus();
  });
  example();
}

// --- tabs

function tabs(names, shown) {
  const all = names.map((name) => find(`tab-${name}`));
  function select(name, focus) {
    for (const tab of all) {
      const chosen = tab.id === `tab-${name}`;
      tab.setAttribute("aria-selected", `${chosen}`);
      tab.tabIndex = chosen ? 0 : -1;
      find(tab.getAttribute("aria-controls")).hidden = !chosen;
      if (chosen && focus) tab.focus();
    }
    history.replaceState(null, "", `#${name}`);
    shown();
  }
  all.forEach((tab, i) => {
    tab.hidden = false;
    tab.addEventListener("click", () => select(names[i], false));
    tab.addEventListener("keydown", (event) => {
      const places = { ArrowRight: i + 1, ArrowLeft: i - 1 + names.length, Home: 0, End: names.length - 1 };
      if (!(event.key in places)) return;
      event.preventDefault();
      select(names[places[event.key] % names.length], true);
    });
  });
  const named = location.hash.slice(1);
  select(names.includes(named) ? named : names[0], false);
}

async function begin() {
  const [playground, { learners }] = [await ask("GET", "v1/playground"), await ask("GET", "v1/learners")];
  const learner = (name) => learners.find((each) => each.name === name);
  const names = [];
  let redraw = () => {};
  if (playground.drawings) names.push("drawings");
  if (playground.points) names.push("points");
  if (playground.tables) names.push("table");
  find("none").hidden = names.length > 0;
  if (playground.drawings) drawings(learner(playground.drawings));
  if (playground.points) redraw = points(learner(playground.points));
  if (playground.tables) table();
  if (names.length) tabs(names, () => redraw());
  window.addEventListener("resize", () => redraw());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
  document.body.dataset.ready = "true";
}

find("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  find("token-form").hidden = true;
  begin().catch((error) => tell(find("none"), error.message));
});
begin().catch((error) => {
  find("none").hidden = false;
  tell(find("none"), error.message);
});
