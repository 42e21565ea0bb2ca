// The live page: rows and balance arrive as server-sent events, explanations open in a dialog.
"use strict";

const ROWS_MAX = 300;
const byId = (id) => document.getElementById(id);
const fragment = (html) => {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
};

const chart = new UsageChart(byId("usage"));
chart.load();

/** What a charge changes beside its own row; many in a row cause one request each. */
function follow() {
  chart.soon(1500);
  breakdown.soon(2000);
}

/** The table of where usage went, by whichever label was chosen. */
const breakdown = {
  due: null,
  soon(ms) {
    this.due ??= setTimeout(() => { this.due = null; this.load(); }, ms);
  },
  async load() {
    const { url } = byId("breakdown-table").dataset;
    const answer = await fetch(url, { headers: { "HX-Request": "true" } }).catch(() => null);
    const here = byId("breakdown-table");
    if (!answer?.ok || here.dataset.url !== url) return;  // another label was chosen meanwhile
    const fresh = fragment(await answer.text()).querySelector("#breakdown-table");
    if (byId("breakdown-table").dataset.url === url) here.replaceChildren(...fresh.childNodes);
  },
};

/** Put a charge where its position belongs; one that is already there is replaced. */
function showCharge(html) {
  const row = fragment(html).querySelector("tr");
  const old = byId(row.id);
  row.classList.add("fresh");
  if (old) {
    old.replaceWith(row);
  } else {
    const position = Number(row.dataset.position);
    const rows = byId("charges").rows;
    let before = 0;
    while (before < rows.length && Number(rows[before].dataset.position) > position) before++;
    byId("charges").insertBefore(row, rows[before] ?? null);
  }
  htmx.process(row);
  trim();
  byId("no-charges").hidden = true;
  follow();
}

/** More came at once than a page holds: the newest page takes the place of the list. */
function showCharges(html) {
  const body = byId("charges");
  body.replaceChildren(fragment(html));
  htmx.process(body);
  offerOlder(body.rows[body.rows.length - 1], true);
  byId("no-charges").hidden = true;
  follow();
}

/** A page that stays open for days stays small; what falls off is older, and can be fetched. */
function trim() {
  const rows = byId("charges").rows;
  if (rows.length <= ROWS_MAX) return;
  while (rows.length > ROWS_MAX) rows[rows.length - 1].remove();
  offerOlder(rows[ROWS_MAX - 1], true);
}

/** Ask next for what is older than the last row, if there is more. */
function offerOlder(last, more) {
  byId("older").hidden = !more;
  byId("older").elements.before.value = last.dataset.position;
}

/** The event carries whole elements; each takes the place of the one with its id. */
function showBalance(html) {
  for (const part of fragment(html).children) {
    const here = byId(part.id);
    if (here.innerHTML !== part.innerHTML) here.replaceChildren(...part.childNodes);
  }
  announce();
}

let announced = null;
function announce() {
  announced ??= setTimeout(() => {
    announced = null;
    byId("announce").textContent = `Balance ${byId("balance-figure").textContent.trim()}`;
  }, 3000);
}

/** Live until the page goes. The browser reconnects by itself, except after an answer that is no
    stream; then the balance is asked, to learn whether it is worth trying again. */
class Live {
  constructor(root) {
    this.root = root;
    this.seen = root.dataset.after;
    window.addEventListener("pagehide", () => this.source.close());
    window.addEventListener("pageshow", (event) => event.persisted && location.reload());
    this.follow();
  }

  say(state, ...words) {
    this.root.dataset.state = state;
    byId("live-word").replaceChildren(...words);
  }

  on(name, show) {
    this.source.addEventListener(name, (event) => {
      this.seen = event.lastEventId || this.seen;
      show(event.data);
    });
  }

  follow() {
    this.source = new EventSource(`${this.root.dataset.url}/live?after=${this.seen}`);
    this.source.addEventListener("open", () => this.say("open", "Live"));
    this.source.addEventListener("error", () => this.lost());
    this.on("charge", showCharge);
    this.on("charges", showCharges);
    this.on("balance", showBalance);
  }

  lost() {
    this.say("lost", "Reconnecting…");
    if (this.source.readyState === EventSource.CLOSED) setTimeout(() => this.ask(), 2000);
  }

  async ask() {
    const answer = await fetch(`${this.root.dataset.url}/balance`, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (answer && answer.status < 500 && !answer.ok) {
      const link = document.createElement("a");
      link.href = location.href;
      link.textContent = "Reload";
      this.say("ended", "Not live. ", link);
      return;
    }
    this.follow();
  }
}
new Live(byId("live"));

const why = byId("why");
document.addEventListener("htmx:after:swap", () => {
  const last = byId("charges").rows[byId("charges").rows.length - 1];
  if (last) offerOlder(last, "more" in last.dataset || byId("charges").rows.length === ROWS_MAX);
  if (byId("why-body").childElementCount && !why.open && byId("why-body").dataset.wanted) {
    delete byId("why-body").dataset.wanted;
    why.showModal();
    why.scrollTop = 0;
    byId("why-title")?.focus();
  }
});
document.addEventListener("htmx:before:request", (event) => {
  if (event.target.closest?.(".why")) {
    byId("why-body").replaceChildren();
    byId("why-body").dataset.wanted = "yes";
  }
});
why.addEventListener("click", (event) => event.target === why && why.close());
