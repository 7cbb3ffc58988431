// Elements, numbers in words, and the charts. Whatever a run says is set as text and never as markup.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 52, right: 14, top: 10, bottom: 36 };
const CHART_HEIGHT = 190;
const AXES = { step: "step", order: "value number", time: "seconds since the start" };

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

function drawn(name, attributes = {}, text = null) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  if (text !== null) node.textContent = text;
  return node;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function size(bytes) {
  if (bytes < 0) return "";
  let value = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000) return `${unit === "B" || value >= 10 ? value.toFixed(0) : value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

function figure(value) {
  if (typeof value !== "number") return value === null || value === undefined ? "NaN" : String(value);
  if (!Number.isFinite(value)) return String(value);
  if (value !== 0 && (Math.abs(value) >= 1e12 || Math.abs(value) < 1e-4)) return value.toExponential(3);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}

function ends(values) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i];
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : null;
}

function roomy([low, high]) {
  if (high > low) return [low, high];
  const room = Math.abs(low) / 10 || 0.5;
  return [low - room, high + room];
}

function ticks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough) || rough;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) {
    found.push(Number(value.toPrecision(12)));
  }
  return found;
}

// One metric: a line with axes, whose values can be read with the mouse or with the arrow keys.
class Chart {
  constructor(name, colour) {
    this.name = name;
    this.title = make("h4", {}, name);
    this.latest = make("span", { class: "ty-latest" });
    this.svg = drawn("svg", { role: "img", tabindex: "0", class: "ty-chart" });
    this.svg.style.setProperty("--ty-line", `var(--ty-series-${colour % 6})`);
    this.read = make("div", { class: "ty-read", "aria-live": "polite" });
    this.root = make("figure", { class: "ty-figure" }, make("figcaption", {}, this.title, this.latest), this.svg, this.read);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.mark(null));
    this.svg.addEventListener("blur", () => this.mark(null));
    this.svg.addEventListener("keydown", (event) => this.step(event));
    this.marked = null;
  }

  draw(series, width, logarithmic) {
    const began = performance.now();
    this.series = series;
    this.width = Math.max(220, Math.floor(width));
    const log = logarithmic && series.y.every((y) => Number.isNaN(y) || y > 0);
    this.scale = log ? Math.log10 : (value) => value;
    const spanX = ends(series.x);
    const spanY = ends(series.y);
    say(this.latest, figure(series.y[series.y.length - 1]));
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${CHART_HEIGHT}`);
    this.svg.setAttribute("height", CHART_HEIGHT);
    if (!spanX || !spanY) return;
    this.x = roomy(spanX);
    this.y = roomy(log ? spanY.map(Math.log10) : spanY);
    this.svg.setAttribute(
      "aria-label",
      `${this.name} by ${AXES[series.axis]}: ${series.count} values from ${figure(spanY[0])} to ${figure(spanY[1])}, ` +
        `the latest is ${figure(series.y[series.y.length - 1])}. Arrow keys read single values.`,
    );
    this.frame(log);
    this.svg.append(drawn("path", { class: "ty-line", d: this.path() }));
    if (series.x.length <= 40) {
      series.x.forEach((x, i) => Number.isNaN(series.y[i]) || this.dot("ty-dot", i, 2.5));
    }
    this.cursor = drawn("g", { class: "ty-cursor" });
    this.svg.append(this.cursor);
    this.mark(this.marked);
    performance.measure("trainyard:draw", { start: began, detail: { name: this.name, points: series.x.length } });
  }

  frame(log) {
    const { left, right, top, bottom } = MARGIN;
    const [low, high] = [CHART_HEIGHT - bottom, top];
    for (const value of ticks(...this.y, 5)) {
      const y = this.placeY(value);
      this.svg.append(drawn("line", { class: "ty-grid", x1: left, x2: this.width - right, y1: y, y2: y }));
      const text = figure(log ? Number((10 ** value).toPrecision(3)) : value);
      this.svg.append(drawn("text", { class: "ty-tick", x: left - 6, y: y + 4, "text-anchor": "end" }, text));
    }
    const few = Math.max(2, Math.floor((this.width - left - right) / 80));
    for (const value of ticks(...this.x, few)) {
      const x = this.placeX(value);
      this.svg.append(drawn("line", { class: "ty-grid", x1: x, x2: x, y1: low, y2: low + 4 }));
      this.svg.append(drawn("text", { class: "ty-tick", x, y: low + 16, "text-anchor": "middle" }, figure(value)));
    }
    this.svg.append(drawn("line", { class: "ty-axis", x1: left, x2: this.width - right, y1: low, y2: low }));
    const middle = (left + this.width - right) / 2;
    const words = AXES[this.series.axis] + (log ? " (logarithmic)" : "");
    this.svg.append(drawn("text", { class: "ty-label", x: middle, y: CHART_HEIGHT - 4, "text-anchor": "middle" }, words));
    this.svg.dataset.top = high;
  }

  placeX(value) {
    return MARGIN.left + ((value - this.x[0]) / (this.x[1] - this.x[0])) * (this.width - MARGIN.left - MARGIN.right);
  }

  placeY(value) {
    return CHART_HEIGHT - MARGIN.bottom - ((value - this.y[0]) / (this.y[1] - this.y[0])) * (CHART_HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  // Of each column of pixels no more than its lowest and highest point is drawn.
  path() {
    const { x, y } = this.series;
    const kept = extremes(x, y, 2 * this.width);
    let d = "";
    let pen = "M";
    for (const i of kept) {
      if (Number.isNaN(y[i])) pen = "M";
      else {
        d += `${pen}${this.placeX(x[i]).toFixed(1)} ${this.placeY(this.scale(y[i])).toFixed(1)}`;
        pen = "L";
      }
    }
    return d;
  }

  dot(kind, i, r, onto = this.svg) {
    const { x, y } = this.series;
    onto.append(drawn("circle", { class: kind, cx: this.placeX(x[i]), cy: this.placeY(this.scale(y[i])), r }));
  }

  point(event) {
    if (!this.x) return;
    const box = this.svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.width;
    this.mark(this.nearest(x));
  }

  nearest(place) {
    const wanted = this.x[0] + ((place - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right)) * (this.x[1] - this.x[0]);
    const { x } = this.series;
    let best = 0;
    for (let i = 1; i < x.length; i += 1) {
      if (Math.abs(x[i] - wanted) < Math.abs(x[best] - wanted)) best = i;
    }
    return best;
  }

  step(event) {
    const last = this.series.x.length - 1;
    const from = this.marked === null ? last : this.marked;
    const stride = Math.max(1, Math.round(last / 100));
    const to = { ArrowLeft: from - stride, ArrowRight: from + stride, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.mark(Math.min(last, Math.max(0, to)));
  }

  mark(place) {
    this.marked = place;
    if (!this.cursor) return;
    this.cursor.replaceChildren();
    const { x, y, axis } = this.series;
    if (place === null || place >= x.length) {
      say(this.read, "");
      return;
    }
    const at = this.placeX(x[place]);
    this.cursor.append(
      drawn("line", { class: "ty-cross", x1: at, x2: at, y1: MARGIN.top, y2: CHART_HEIGHT - MARGIN.bottom }),
    );
    if (!Number.isNaN(y[place])) this.dot("ty-here", place, 4, this.cursor);
    const where = axis === "time" ? `${figure(x[place])} s` : `${AXES[axis]} ${figure(x[place])}`;
    say(this.read, `${where}: ${figure(y[place])}`);
  }
}
