// The view of one run: head, phases, progress, latest values, and the panels below tabs.

const TABS = [["metrics", "Metrics"], ["log", "Log"], ["files", "Files and models"], ["about", "About"]];
const SIGNS = { good: "✓", bad: "✕", warn: "■", active: "●", waiting: "○" };
const WORDS = { NotStarted: "Not started", CancelRequested: "Canceling" };
const TILES = 8;
let views = 0;

class View {
  constructor(store, el) {
    this.store = store;
    this.name = `trainyard-${(views += 1)}`;
    this.said = "";
    this.panels = {
      metrics: new MetricsPanel(store), log: new LogPanel(store), files: new FilesPanel(store), about: new AboutPanel(store),
    };
    this.pending = 0;
    this.build();
    el.append(this.root);
    store.views.add(this);
    this.resized = new ResizeObserver(() => this.later());
    this.resized.observe(this.root);
    this.ticking = setInterval(() => store.alive !== this.wasAlive || (store.alive && !store.view.ended) ? this.update() : null, 1000);
    this.update();
    performance.mark("trainyard:painted", { detail: { id: store.view && store.view.id } });
  }

  close() {
    this.store.views.delete(this);
    this.resized.disconnect();
    clearInterval(this.ticking);
    cancelAnimationFrame(this.pending);
  }

  later() {
    if (!this.pending) this.pending = requestAnimationFrame(() => this.update());
  }

  build() {
    const part = (name, tag = "div", more = {}) => (this[name] = make(tag, { class: `ty-${name}`, ...more }));
    part("pill", "span");
    part("title", "strong");
    part("where", "span");
    part("times", "span");
    part("reason", "p");
    part("banner", "p");
    part("failure");
    part("phases", "ol", { "aria-label": "Phases" });
    part("bar", "div", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": "Progress" });
    this.fill = make("div", {});
    this.bar.append(this.fill);
    part("message", "p");
    part("tiles", "dl");
    this.live = make("div", { class: "ty-unseen", role: "status", "aria-live": "polite" });
    this.tabs = make("div", { class: "ty-tabs", role: "tablist", "aria-label": "About the run" });
    this.tabs.addEventListener("keydown", (event) => this.move(event));
    this.sheets = TABS.map(([id, title]) => {
      const [tab, sheet] = [`${this.name}-${id}-tab`, `${this.name}-${id}`];
      this.tabs.append(make("button", { type: "button", role: "tab", id: tab, "aria-controls": sheet, onclick: () => this.choose(id) }, title));
      return make("div", { role: "tabpanel", id: sheet, "aria-labelledby": tab, class: "ty-sheet" }, this.panels[id].root);
    });
    this.root = make(
      "section", { class: "trainyard-run", "aria-label": "Run" },
      make("header", {}, this.pill, this.title, this.where, this.times),
      this.reason, this.banner, this.phases, this.bar, this.message, this.failure, this.tiles, this.live, this.tabs, ...this.sheets,
    );
    // The notebook's own keys, such as arrows that go to the next cell, are not meant while somebody is in here.
    this.root.addEventListener("keydown", (event) => event.key === "Escape" || event.stopPropagation());
  }

  move(event) {
    const at = TABS.findIndex(([id]) => id === this.tab);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: TABS.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const place = (to + TABS.length) % TABS.length;
    this.choose(TABS[place][0]);
    this.tabs.children[place].focus();
  }

  choose(id) {
    this.store.chosen.tab = id;
    this.update();
  }

  get tab() {
    const { chosen, series, log, view } = this.store;
    if (chosen.tab) return chosen.tab;
    const lines = [...series.values()].some((one) => one.x.length > 1);
    if (view.tone === "bad" && log.lines.length) return "log";
    return lines || !log.lines.length ? "metrics" : "log";
  }

  update() {
    cancelAnimationFrame(this.pending);
    this.pending = 0;
    const { view } = this.store;
    if (!view) return;
    this.wasAlive = this.store.alive;
    this.root.dataset.tone = view.tone;
    this.root.dataset.alive = this.store.alive;
    this.head(view);
    this.showPhases(view);
    this.showProgress(view);
    this.showFailure(view);
    this.showTiles(view);
    TABS.forEach(([id], place) => {
      const here = id === this.tab;
      this.tabs.children[place].setAttribute("aria-selected", here);
      this.tabs.children[place].tabIndex = here ? 0 : -1;
      this.sheets[place].hidden = !here;
    });
    this.panels[this.tab].update();
  }

  head(view) {
    const status = WORDS[view.status] || view.status;
    say(this.pill, `${SIGNS[view.tone]} ${status}`);
    say(this.title, view.id);
    say(this.where, `${view.experiment} · ${view.namespace}`);
    say(this.reason, view.failure ? "" : view.message);
    const begun = view.start || view.created;
    const words = begun ? [`${duration((view.end || this.store.time) - begun)}${view.end ? "" : view.start ? " running" : " waiting"}`] : [];
    const eta = view.progress && view.progress.eta;
    if (eta && !view.ended && view.start) words.push(`about ${duration(eta - this.store.time)} left`);
    const { queue } = view;
    if (queue) words.push(`number ${queue.position} of ${queue.pending} in the queue`);
    if (queue && queue.likely) words.push(`starts by ${new Date(queue.likely * 1000).toLocaleTimeString()}`);
    say(this.times, words.join(" · "));
    say(this.banner, this.trouble(view));
    const spoken = `Run ${view.id} is ${status}. ${view.message}`;
    if (spoken !== this.said) say(this.live, (this.said = spoken));
  }

  trouble(view) {
    if (view.notes.watch) return view.notes.watch;
    if (view.ended || this.store.alive) return "";
    const at = new Date(this.store.now * 1000).toLocaleString();
    if (this.store.heard && !this.store.over) return `Nothing is heard from the kernel. This is the run as it was at ${at}.`;
    return performance.now() - (this.began ||= performance.now()) < 1500 ? "" : `This is the run as it was at ${at}: no kernel watches it.`;
  }

  showPhases(view) {
    const last = view.phases.length - 1;
    view.phases.forEach((phase, place) => {
      const item = this.phases.children[place] || this.phases.appendChild(make("li", {}, make("span", {}), make("b", {}), make("i", {})));
      const seconds = (phase.end || view.end || this.store.time) - phase.start;
      item.dataset.phase = phase.name;
      item.dataset.open = place === last && !view.ended;
      item.style.flexGrow = Math.max(1, seconds);
      say(item.children[1], phase.name);
      say(item.children[2], duration(seconds));
    });
    while (this.phases.children.length > last + 1) this.phases.lastChild.remove();
    this.phases.hidden = last < 0;
  }

  showProgress({ progress, ended }) {
    const percent = progress && progress.percent;
    this.bar.hidden = ended || percent === null || percent === undefined;
    this.message.hidden = ended || !progress || (!progress.message && this.bar.hidden);
    if (!progress) return;
    if (!this.bar.hidden) {
      this.bar.setAttribute("aria-valuenow", percent);
      this.fill.style.width = `${percent}%`;
    }
    say(this.message, [this.bar.hidden ? "" : `${percent} %`, progress.message].filter(Boolean).join(" · "));
  }

  showFailure({ failure, message }) {
    this.failure.hidden = !failure;
    if (!failure) return;
    const whole = this.store.log.lines.length > 0;
    const seen = JSON.stringify([failure, message, whole]);
    if (this.failure.dataset.seen === seen) return;
    this.failure.dataset.seen = seen;
    // Where the log is at hand, its last line says what happened; else all that was kept of it.
    const tail = whole ? failure.logTail.trimEnd().split("\n").pop() : failure.logTail.trimEnd();
    this.failure.replaceChildren(
      make("strong", {}, failure.reason), " ", make("span", {}, failure.message || message),
      tail ? make("pre", { tabindex: "0", "aria-label": "The end of its log" }, tail) : "",
    );
    this.failure.lastChild.scrollTop = this.failure.lastChild.scrollHeight;
  }

  showTiles(view) {
    const shown = view.latest.slice(0, TILES);
    const seen = JSON.stringify([shown, view.models, view.latest.length]);
    if (this.tiles.dataset.seen === seen) return;
    this.tiles.dataset.seen = seen;
    const tiles = shown.map(([name, value]) => make("div", { title: name }, make("dt", {}, name), make("dd", {}, figure(value))));
    const models = view.models.map((one) => make("div", { class: "ty-model", title: one.path }, make("dt", {}, "registered model"), make("dd", {}, one.id)));
    const more = view.latest.length - shown.length;
    if (more > 0) tiles.push(make("div", { class: "ty-more" }, make("dt", {}, "and"), make("dd", {}, `${more} more`)));
    this.tiles.replaceChildren(...models, ...tiles);
    this.tiles.hidden = !this.tiles.children.length;
  }
}

export default () => {
  let store;
  return {
    initialize({ model }) {
      store = new Store(model);
      return () => store.close();
    },
    render({ el }) {
      const view = new View(store, el);
      return () => view.close();
    },
  };
};
