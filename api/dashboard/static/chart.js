// Usage per day, stacked: cost by model, or units by who paid; drawn by uPlot. Amounts arrive as
// whole micro-units and are printed with integer arithmetic; nothing here rounds money.
"use strict";

const HEIGHT = 280;

const Daybook = {
  SYMBOLS: { usd: "$", eur: "€", gbp: "£" },

  /** µ as text, with at least `least` digits after the point and at most six. */
  money(micros, currency, least = 2) {
    const whole = Math.trunc(Math.abs(micros) / 1e6);
    const digits = String(Math.abs(micros) % 1e6).padStart(6, "0");
    const fine = digits.slice(least).replace(/0+$/, "");
    const symbol = Daybook.SYMBOLS[currency] ?? `${currency.toUpperCase()} `;
    const sign = micros < 0 ? "−" : "";
    return `${sign}${symbol}${whole.toLocaleString("en-GB")}.${digits.slice(0, least)}${fine}`;
  },

  element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  },
};

class UsageChart {
  constructor(root) {
    this.root = root;
    this.part = (id) => root.querySelector(`#${id}`);
    this.plot = null;
    this.data = null;
    this.due = null;
    new ResizeObserver(() => this.fit()).observe(this.part("chart"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Load again, at most once in `ms`; many charges in a row cause one request. */
  soon(ms) {
    this.due ??= setTimeout(() => { this.due = null; this.load(); }, ms);
  }

  async load() {
    try {
      const answer = await fetch(this.root.dataset.url, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      this.data = await answer.json();
    } catch {
      if (!this.data) this.fail();
      return;
    }
    this.show();
  }

  say(state, words) {
    this.root.dataset.state = state;
    this.root.setAttribute("aria-busy", "false");
    this.part("chart-note").replaceChildren(...words);
  }

  fail() {
    const again = Daybook.element("button", "", "Try again");
    again.addEventListener("click", () => this.load());
    this.say("error", [Daybook.element("p", "", "The figures could not be loaded."), again]);
  }

  /** A value of the chart as text: money with at least `least` digits after the point, or units. */
  text(value, least = 2) {
    return this.data.unit ? value.toLocaleString("en-GB") : Daybook.money(value, this.data.currency, least);
  }

  show() {
    const { series, unit, calls } = this.data;
    const counted = `${calls.toLocaleString("en-GB")} call${calls === 1 ? "" : "s"}`;
    if (!calls) {
      this.say("empty", ["No usage in these days."]);
      return;
    }
    this.totals = this.data.days.map((_, i) => series.reduce((sum, one) => sum + one.values[i], 0));
    const total = this.totals.reduce((a, b) => a + b, 0);
    if (!this.totals.some(Boolean)) {
      this.say("empty", [`${counted} in these days, none of which ${unit ? "used any" : "cost money"}.`]);
      return;
    }
    this.say("ready", []);
    const [, coarse, fine] = /^(.*?\.\d\d|[^.]*)(\d*)$/.exec(this.text(total));
    this.part("usage-total").replaceChildren(coarse, Daybook.element("span", "fine", fine));
    this.part("usage-calls").textContent = `${unit ? `${unit} ` : ""}in ${counted}`;
    this.legend();
    this.table();
    this.draw();
  }

  legend() {
    this.part("legend").replaceChildren(...this.data.series.map((one) => {
      const item = Daybook.element("li");
      item.append(Daybook.element("span", `swatch s${one.colour}`), one.name);
      return item;
    }));
  }

  table() {
    const { days, series } = this.data;
    const row = (cells, name) => {
      const made = Daybook.element("tr");
      cells.forEach((cell, i) => made.append(Daybook.element(i && name === "td" ? "td" : "th", "", cell)));
      made.firstChild.scope = name === "td" ? "row" : "col";
      return made;
    };
    const head = Daybook.element("thead");
    head.append(row(["Day", ...series.map((one) => one.name), "All"], "th"));
    const body = Daybook.element("tbody");
    for (let i = days.length - 1; i >= 0; i--) {
      body.append(row([days[i], ...series.map((one) => this.text(one.values[i], 6)),
        this.text(this.totals[i], 6)], "td"));
    }
    this.part("usage-table").replaceChildren(head, body);
  }

  /** Bars from the top of the stack down, so that each lower one is drawn over the one above. */
  stacks() {
    const sums = this.data.days.map(() => 0);
    return this.data.series.map((one) => one.values.map((value, i) => (sums[i] += value))).reverse();
  }

  draw() {
    if (this.root.dataset.state !== "ready") return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const { days, series } = this.data;
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: colour("--muted"), font, ticks: { show: false } };
    const bars = uPlot.paths.bars({ size: [0.72, 44], radius: 0 });
    const options = {
      width: this.part("chart").clientWidth || 320,
      height: HEIGHT,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: [-0.6, days.length - 0.4] }, y: { range: (_, __, max) => [0, Math.max(max, 1) * 1.06] } },
      axes: [
        { ...axis, grid: { show: false }, incrs: [1, 2, 5, 7, 10, 14], space: 56, size: 28,
          values: (_, at) => at.map((i) => (Number.isInteger(i) && days[i] ? UsageChart.dayName(days[i]) : "")) },
        { ...axis, grid: { stroke: colour("--grid"), width: 1 }, space: 44,
          incrs: Array.from({ length: 15 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat(),
          values: (_, at) => this.ticks(at),
          size: (_, values) => 16 + 7.2 * Math.max(0, ...(values ?? []).map((v) => v.length)) },
      ],
      series: [{}, ...series.toReversed().map((one) => ({
        fill: colour(`--series-${one.colour}`), stroke: colour(`--series-${one.colour}`),
        width: 0, paths: bars, points: { show: false },
      }))],
      hooks: { setCursor: [(plot) => this.tip(plot)] },
    };
    this.plot?.destroy();
    this.plot = new uPlot(options, [days.map((_, i) => i), ...this.stacks()], this.part("chart"));
    this.hint = Daybook.element("div", "tip");
    this.hint.hidden = true;
    this.part("chart").append(this.hint);
    this.plot.over.addEventListener("mouseleave", () => { this.hint.hidden = true; });
  }

  tip(plot) {
    const i = plot.cursor.idx;
    if (!this.hint) return;
    this.hint.hidden = i == null || plot.cursor.left < 0;
    if (this.hint.hidden) return;
    const { days, series } = this.data;
    const head = Daybook.element("p");
    head.append(Daybook.element("span", "", UsageChart.dayName(days[i])), Daybook.element("span", "", this.text(this.totals[i])));
    const list = Daybook.element("ul");
    series.toReversed().forEach((one) => {
      if (!one.values[i]) return;
      const item = Daybook.element("li");
      item.append(Daybook.element("span", `swatch s${one.colour}`), Daybook.element("span", "", one.name), Daybook.element("span", "", this.text(one.values[i])));
      list.append(item);
    });
    this.hint.replaceChildren(head, list);
    const box = this.part("chart").getBoundingClientRect(), over = plot.over.getBoundingClientRect();
    const at = over.left - box.left + plot.cursor.left;
    const width = this.hint.offsetWidth;
    this.hint.style.left = `${Math.max(0, at + 16 + width > box.width ? at - 16 - width : at + 16)}px`;
    this.hint.style.top = "8px";
  }

  fit() {
    const width = this.part("chart").clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  /** All ticks with as many digits as the finest of them needs. */
  ticks(at) {
    if (this.data.unit) return at.map((value) => this.text(value));
    const digits = Math.max(0, ...at.map((v) => String(v % 1e6 + 1e6).slice(1).replace(/0+$/, "").length));
    return at.map((v) => {
      const text = this.text(v, Math.max(digits, 2));
      return digits ? text : text.replace(/\.00$/, "");
    });
  }

  static dayName(day) {
    const [year, month, date] = day.split("-").map(Number);
    return new Date(Date.UTC(year, month - 1, date)).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  }
}
