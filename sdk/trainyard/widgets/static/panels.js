// The four panels: metrics, log, files with models, and what the run is.

class MetricsPanel {
  constructor(store) {
    this.store = store;
    this.charts = new Map();
    this.asTable = make("button", { type: "button", onclick: () => this.choose("table") }, "Table");
    this.asLog = make("button", { type: "button", onclick: () => this.choose("logarithmic") }, "Logarithmic");
    this.note = make("span", { class: "ty-quiet" });
    this.grid = make("div", { class: "ty-charts" });
    this.table = make("div", { class: "ty-scroll", tabindex: "0", role: "region", "aria-label": "Metrics as a table" });
    this.empty = make("p", { class: "ty-quiet" });
    this.root = make("div", {}, make("div", { class: "ty-tools" }, this.asTable, this.asLog, this.note), this.empty, this.grid, this.table);
    this.seen = "";
  }

  choose(what) {
    this.store.chosen[what] = !this.store.chosen[what];
    this.seen = "";
    this.update();
  }

  update() {
    const { series, view, chosen, version } = this.store;
    const width = this.root.clientWidth;
    if (!width) return;
    const columns = Math.max(1, Math.min(3, Math.floor(width / 340), series.size || 1));
    const seen = JSON.stringify([version.series, width, chosen.table, chosen.logarithmic, view.latest, view.live_metrics]);
    if (seen === this.seen) return;
    this.seen = seen;
    this.asTable.setAttribute("aria-pressed", chosen.table);
    this.asLog.setAttribute("aria-pressed", chosen.logarithmic);
    const lines = [...series.values()].filter((one) => one.x.length > 1);
    this.asLog.hidden = chosen.table || !lines.length;
    this.asTable.hidden = !series.size;
    const sampled = view.live_metrics && series.size && !view.ended;
    say(this.note, sampled ? "Latest values as the run reports them, every 2 s; each logged value once it has ended." : "");
    say(this.empty, this.words(lines.length, chosen.table));
    this.grid.hidden = chosen.table;
    this.table.hidden = !chosen.table || !series.size;
    if (chosen.table) this.fill([...series.values()]);
    else this.draw(lines, Math.floor((width - (columns - 1) * 12) / columns), columns);
  }

  words(lines, table) {
    if (this.store.series.size && (table || lines)) return "";
    if (this.store.series.size) return "A line is drawn as soon as a metric has two values; single values stand above.";
    return this.store.view.ended
      ? "The script has logged no metrics: run.log(\"accuracy\", 0.92) does."
      : "Metrics appear here as soon as the script logs them: run.log(\"accuracy\", 0.92).";
  }

  draw(lines, width, columns) {
    this.grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    const names = new Set(lines.map((one) => one.name));
    for (const [name, chart] of this.charts) {
      if (!names.has(name)) {
        chart.root.remove();
        this.charts.delete(name);
      }
    }
    for (const one of lines) {
      if (!this.charts.has(one.name)) {
        this.charts.set(one.name, new Chart(one.name, this.charts.size));
        this.grid.append(this.charts.get(one.name).root);
      }
      this.charts.get(one.name).draw(one, width - 26, this.store.chosen.logarithmic);
    }
  }

  fill(all) {
    const head = ["Metric", "Values", "First", "Lowest", "Highest", "Latest"].map((name) => make("th", { scope: "col" }, name));
    const rows = all.map((one) => {
      const [low, high] = ends(one.y) || [NaN, NaN];
      const cells = [one.count, figure(one.y[0]), figure(low), figure(high), figure(one.y[one.y.length - 1])];
      return make("tr", {}, make("th", { scope: "row" }, one.name), ...cells.map((cell) => make("td", {}, String(cell))));
    });
    this.table.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
  }
}

class LogPanel {
  constructor(store) {
    this.store = store;
    this.toggle = make("button", { type: "button", onclick: () => this.follow(!store.chosen.follow) });
    this.count = make("span", { class: "ty-quiet" });
    this.box = make("div", { class: "ty-log", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Log" });
    this.box.addEventListener("scroll", () => this.scrolled());
    this.root = make("div", {}, make("div", { class: "ty-tools" }, this.toggle, this.count), this.box);
    this.shown = { epoch: -1, from: 0, to: 0 };
    this.seen = -1;
    this.pausedAt = 0;
    this.placed = false;
  }

  follow(wanted) {
    const { chosen, log } = this.store;
    chosen.follow = wanted;
    this.pausedAt = log.from + log.lines.length;
    if (wanted) this.box.scrollTop = this.box.scrollHeight;
    this.label();
  }

  scrolled() {
    const { box } = this;
    if (!box.clientHeight) return;
    this.store.chosen.scroll = box.scrollTop;
    const bottom = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
    if (bottom !== this.store.chosen.follow) this.follow(bottom);
  }

  label() {
    const { log, chosen, view } = this.store;
    const total = log.from + log.lines.length;
    this.toggle.setAttribute("aria-pressed", chosen.follow);
    say(this.toggle, chosen.follow ? "Following" : "Follow");
    const fresh = chosen.follow ? 0 : total - this.pausedAt;
    const words = [
      total ? `${total.toLocaleString("en")} lines${log.from ? `, the last ${log.lines.length.toLocaleString("en")} are here` : ""}` : "",
      fresh > 0 ? `paused, ${fresh.toLocaleString("en")} new` : chosen.follow ? "" : "paused",
      view.notes.log || "",
    ];
    say(this.count, words.filter(Boolean).join(" · "));
  }

  update() {
    const { log, chosen, version, view } = this.store;
    if (!this.root.clientWidth) return;
    if (this.seen !== version.log) {
      this.seen = version.log;
      this.show(log);
      if (chosen.follow) this.box.scrollTop = this.box.scrollHeight;
      else if (!this.placed) this.box.scrollTop = chosen.scroll;
      this.placed = true;
    }
    if (!log.lines.length) {
      const words = view.ended ? "The script has printed nothing." : "Lines appear here as soon as the script prints them.";
      const tail = view.failure && view.failure.logTail;
      say(this.box, tail || words);
    }
    this.label();
  }

  show(log) {
    const end = log.from + log.lines.length;
    const { shown, box } = this;
    if (shown.epoch !== log.epoch || shown.to < log.from || shown.to === 0 || shown.to > end) {
      box.replaceChildren();
      Object.assign(shown, { epoch: log.epoch, from: log.from, to: log.from });
    }
    const fresh = document.createDocumentFragment();
    for (const line of log.lines.slice(shown.to - log.from)) fresh.append(make("div", {}, line || " "));
    // Lines that go above must not move those that somebody reads.
    const before = box.scrollHeight;
    for (; shown.from < log.from && box.firstChild; shown.from += 1) box.firstChild.remove();
    if (!this.store.chosen.follow) box.scrollTop -= before - box.scrollHeight;
    box.append(fresh);
    shown.to = end;
  }
}

class FilesPanel {
  constructor(store) {
    this.store = store;
    this.root = make("div", { class: "ty-scroll" });
    this.seen = "";
  }

  update() {
    const { view } = this.store;
    const seen = JSON.stringify([view.files, view.models, view.held, view.notes.files, view.ended]);
    if (seen === this.seen) return;
    this.seen = seen;
    const parts = [];
    if (view.models.length || view.held.length) {
      const rows = view.models.map((one) => [make("strong", {}, one.id), one.path]);
      rows.push(...view.held.map((one) => [one.name, `not registered: ${one.message}`]));
      parts.push(table(["Model", "Made of"], rows));
    }
    if (view.notes.files) parts.push(make("p", { class: "ty-quiet" }, `The files cannot be fetched: ${view.notes.files}`));
    if (view.files.length) {
      const rows = view.files.map(([path, bytes]) => [make("code", {}, path), size(bytes)]);
      parts.push(table(["File", "Size"], rows, 1));
      if (view.more_files) parts.push(make("p", { class: "ty-quiet" }, `and ${view.more_files} more`));
      const total = view.files.reduce((sum, [, bytes]) => sum + Math.max(0, bytes), 0);
      const hint = `${view.files.length + view.more_files} files${total ? `, ${size(total)}` : ""}. Fetch one with `;
      parts.push(make("p", { class: "ty-quiet" }, hint, make("code", {}, "run.download_file(…)")));
    } else if (!view.notes.files) {
      parts.push(make("p", { class: "ty-quiet" }, view.ended ? "The run has saved no files." : "Logs appear here while the run goes on, outputs when the script has ended."));
    }
    this.root.replaceChildren(...parts);
  }
}

class AboutPanel {
  constructor(store) {
    this.store = store;
    this.root = make("dl", { class: "ty-facts" });
    this.seen = "";
  }

  update() {
    const { view } = this.store;
    const ours = [["Run", view.id], ["Experiment", view.experiment], ["Workspace", view.namespace]];
    const times = ["created", "start", "end"].filter((name) => view[name]).map((name) => [
      { created: "Created", start: "Started", end: "Ended" }[name], new Date(view[name] * 1000).toLocaleString(),
    ]);
    const facts = [...ours, ...times, ...view.facts];
    const seen = JSON.stringify(facts);
    if (seen === this.seen) return;
    this.seen = seen;
    this.root.replaceChildren(...facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  }
}

function table(head, rows, number = -1) {
  const kind = (place) => (place === number ? { class: "ty-number" } : {});
  const top = head.map((name, place) => make("th", { scope: "col", ...kind(place) }, name));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell, place) => make("td", kind(place), cell))));
  return make("table", {}, make("thead", {}, make("tr", {}, ...top)), make("tbody", {}, ...body));
}
