// What is known of a run, kept from one page to the next. The parts of this folder are joined into one module, in the
// order store, chart, panels, run_details; each sees what stands above it.

const LOG_LINES = 2000;
const SAVED_POINTS = 1000;
// The kernel says that it is there every five seconds.
const SILENCE = 16;
const STATE_TYPE = "application/vnd.jupyter.widget-state+json";
const OWN_TYPE = "trainyard.widgets.front.RunWidget";
const clock = () => Date.now() / 1000;

class Store {
  constructor(model) {
    this.model = model;
    this.views = new Set();
    this.number = -1;
    this.view = null;
    this.log = { epoch: 0, from: 0, lines: [] };
    this.series = new Map();
    this.seriesEpoch = 0;
    this.version = { log: 0, series: 0 };
    this.now = clock();
    this.offset = 0;
    this.heard = 0;
    this.over = false;
    // What somebody has chosen, which outlives a view that is drawn anew.
    this.chosen = { tab: "", follow: true, scroll: 0, table: false, logarithmic: false };
    this.saving = false;
    this.onSnapshot = () => this.saving || this.take(model.get("snapshot"), true);
    this.onMessage = (content, buffers) => this.hear(content, buffers || []);
    model.on("change:snapshot", this.onSnapshot);
    model.on("msg:custom", this.onMessage);
    this.take(model.get("snapshot"), false);
    this.unhook = this.saveWithNotebook();
    model.send({ type: "hello" });
  }

  close() {
    this.model.off("change:snapshot", this.onSnapshot);
    this.model.off("msg:custom", this.onMessage);
    this.unhook();
  }

  get alive() {
    return !this.over && this.heard > 0 && clock() - this.heard < SILENCE;
  }

  // The time where the run is: the page's clock may be wrong, and a view of the past has no clock.
  get time() {
    return this.alive ? clock() + this.offset : this.now;
  }

  take(snapshot, heard) {
    if (!snapshot || !snapshot.view) return;
    if (heard) this.listened(snapshot.now);
    if (snapshot.number < this.number) return;
    if (!heard) this.now = snapshot.now;
    this.number = snapshot.number;
    this.view = snapshot.view;
    this.log = { epoch: snapshot.log.epoch, from: snapshot.log.from, lines: [...snapshot.log.lines] };
    this.version.log += 1;
    const { epoch, of } = snapshot.series;
    const kept = epoch === this.seriesEpoch ? this.series : new Map();
    this.series = new Map(
      of.map((one) => {
        const had = kept.get(one.name);
        // All points are better than some of them.
        const whole = had && had.count === one.count && had.x.length >= one.x.length;
        return [one.name, whole ? had : { ...one, x: [...one.x], y: one.y.map((y) => (y === null ? NaN : y)) }];
      }),
    );
    this.seriesEpoch = epoch;
    this.version.series += 1;
    this.changed();
  }

  hear(content, buffers) {
    if (content.type === "end" || content.over) this.over = true;
    if (content.now) this.listened(content.now);
    else this.heard = clock();
    if (content.type === "news") {
      if (content.number <= this.number) return;
      if (content.number > this.number + 1) this.model.send({ type: "all" });
      this.number = content.number;
      Object.assign(this.view, content.view);
      if (content.log) this.append(content.log);
    }
    if (content.series) this.draw(content.series, buffers);
    this.changed();
  }

  listened(now) {
    this.heard = clock();
    this.now = now;
    this.offset = now - this.heard;
  }

  append({ epoch, from, lines }) {
    const log = this.log;
    if (epoch !== log.epoch) this.log = { epoch, from, lines: [...lines] };
    else {
      // Lines between are lost where more came than anybody keeps.
      if (from > log.from + log.lines.length) Object.assign(log, { from, lines: [] });
      log.lines.push(...lines.slice(Math.max(0, log.from + log.lines.length - from)));
      const surplus = log.lines.length - LOG_LINES;
      if (surplus > 0) {
        log.lines.splice(0, surplus);
        log.from += surplus;
      }
    }
    this.version.log += 1;
  }

  draw({ epoch, of }, buffers) {
    if (epoch !== this.seriesEpoch) {
      this.series = new Map();
      this.seriesEpoch = epoch;
    }
    of.forEach((about, place) => {
      const [x, y] = [doubles(buffers[2 * place]), doubles(buffers[2 * place + 1])];
      const had = this.series.get(about.name);
      if (about.from === 0 || !had) this.series.set(about.name, { ...about, x: [...x], y: [...y] });
      else if (about.count > had.count) {
        const skip = Math.max(0, had.count - (about.count - x.length));
        for (let i = skip; i < x.length; i += 1) {
          had.x.push(x[i]);
          had.y.push(y[i]);
        }
        had.count = about.count;
      }
    });
    this.version.series += 1;
  }

  changed() {
    for (const view of this.views) view.later();
  }

  snapshot() {
    const of = [...this.series.values()].map((one) => {
      const kept = extremes(one.x, one.y, SAVED_POINTS);
      const y = kept.map((i) => (Number.isFinite(one.y[i]) ? one.y[i] : null));
      return { name: one.name, axis: one.axis, count: one.count, x: kept.map((i) => one.x[i]), y };
    });
    return { number: this.number, now: this.time, view: this.view, log: this.log, series: { epoch: this.seriesEpoch, of } };
  }

  // JupyterLab and Notebook keep the state of widgets with the notebook only where somebody has asked them to. Readers
  // of a notebook without its kernel would see nothing: so this widget's state is kept whenever the notebook is saved.
  saveWithNotebook() {
    const manager = this.model.widget_manager;
    const context = manager && manager.context;
    const able = context && context.saveState && context.model && context.model.setMetadata && manager.get_state_sync;
    if (!able) return () => {};
    const save = (_, state) => {
      if (state !== "started" || !this.view) return;
      try {
        this.saving = true;
        this.model.set("snapshot", this.snapshot());
        keepOwn(manager, context.model);
      } catch (error) {
        console.warn("RunDetails: the view cannot be kept with the notebook", error);
      } finally {
        this.saving = false;
      }
    };
    context.saveState.connect(save);
    return () => context.saveState.disconnect(save);
  }
}

function keepOwn(manager, notebook) {
  const all = manager.get_state_sync({ drop_defaults: true }).state;
  const own = {};
  for (const [id, entry] of Object.entries(all)) {
    if (entry.state._anywidget_id !== OWN_TYPE) continue;
    own[id] = entry;
    const layout = String(entry.state.layout || "").replace("IPY_MODEL_", "");
    if (all[layout]) own[layout] = all[layout];
  }
  const widgets = notebook.getMetadata("widgets") || {};
  const others = Object.entries((widgets[STATE_TYPE] || {}).state || {}).filter(
    ([id, entry]) => id in all || entry.state._anywidget_id !== OWN_TYPE,
  );
  const state = { ...Object.fromEntries(others), ...own };
  notebook.setMetadata("widgets", { ...widgets, [STATE_TYPE]: { version_major: 2, version_minor: 0, state } });
}

function doubles(part) {
  if (!part) return [];
  const bytes = part.buffer ? new Uint8Array(part.buffer, part.byteOffset, part.byteLength) : new Uint8Array(part);
  // A copy, since doubles have to begin at a multiple of eight.
  return new Float64Array(bytes.slice().buffer);
}

// The places of at most about so many points that look the same when drawn: of each bucket the lowest and the highest.
function extremes(x, y, most) {
  const all = x.length;
  if (all <= most) return Array.from({ length: all }, (_, i) => i);
  const size = Math.ceil((2 * all) / most);
  const kept = [];
  for (let start = 0; start < all; start += size) {
    let low = -1;
    let high = -1;
    for (let i = start; i < Math.min(start + size, all); i += 1) {
      if (Number.isNaN(y[i])) continue;
      if (low < 0 || y[i] < y[low]) low = i;
      if (high < 0 || y[i] > y[high]) high = i;
    }
    if (low < 0) kept.push(start);
    else if (low === high) kept.push(low);
    else kept.push(Math.min(low, high), Math.max(low, high));
  }
  if (kept[kept.length - 1] !== all - 1) kept.push(all - 1);
  return kept;
}
