"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (id) => document.getElementById(id);
const articles = all(".scenario");
const off = new Set();
const asked = { scenario: "", measure: "", nfe: "", solver: "" };

function current() {
  return articles.find((each) => each.dataset.scenario === asked.scenario) || articles[0];
}

function readLink() {
  const words = new URLSearchParams(location.hash.slice(1));
  const named = Object.keys(asked).filter((key) => words.has(key));
  for (const key of named) asked[key] = words.get(key);
  return named.length > 0;
}

function writeLink() {
  const words = Object.entries(asked).filter(([, value]) => value);
  history.replaceState(null, "", "#" + new URLSearchParams(words));
}

function wanted(kind, name) {
  const box = one("kind-" + kind);
  return (!box || box.checked) && name.toLowerCase().includes(asked.solver.toLowerCase());
}

function show() {
  const article = current();
  if (!article) return;
  asked.scenario = article.dataset.scenario;
  for (const each of articles) each.hidden = each !== article;
  const panels = all(".panel", article);
  const measures = panels.map((each) => each.dataset.measure);
  const measure = measures.includes(asked.measure) ? asked.measure : measures[0] || "";
  for (const each of panels) each.hidden = each.dataset.measure !== measure;
  for (const option of one("measure").options) option.disabled = !measures.includes(option.value);
  if (!all(`[data-n="${asked.nfe}"]`, article).length) asked.nfe = "";
  for (const each of all("[data-n]", article)) each.hidden = Boolean(asked.nfe) && each.dataset.n !== asked.nfe;
  Object.assign(one("scenario"), { value: asked.scenario });
  Object.assign(one("measure"), { value: measure });
  Object.assign(one("nfe"), { value: asked.nfe });
  if (one("solver").value !== asked.solver) one("solver").value = asked.solver;
  for (const box of ["ends", "rank"]) document.body.classList.toggle("no-" + box, !one(box).checked);
  const shown = new Map();
  for (const button of all("[data-toggle]", article)) {
    const fits = wanted(button.dataset.k, button.textContent);
    shown.set(button.dataset.s, fits && !off.has(button.dataset.s));
    button.hidden = !fits;
    button.setAttribute("aria-pressed", String(!off.has(button.dataset.s)));
    for (const row of all(`tr[data-s="${button.dataset.s}"]`, article)) row.hidden = !fits;
  }
  const outside = all("#together .chart [data-s]");
  for (const each of [...all(".chart [data-s]", article), ...outside]) {
    each.classList.toggle("off", shown.has(each.dataset.s) ? !shown.get(each.dataset.s) : off.has(each.dataset.s));
  }
  const rows = all(".panel:not([hidden]) tbody tr", article);
  const left = rows.filter((row) => !row.hidden).length;
  one("status").textContent = `${article.querySelector("h3").textContent}: ${left} of ${rows.length} solvers by ${measure}`;
  for (const chart of all(".chart")) enter(chart, chart.querySelector(".curve:not(.off) use"));
}

function enter(chart, point) {
  for (const each of all("use[tabindex]", chart)) each.removeAttribute("tabindex");
  if (point) point.setAttribute("tabindex", "0");
}

function tell(point) {
  const tip = one("tip");
  for (const each of all(".hot, .dim")) each.classList.remove("hot", "dim");
  tip.hidden = !point;
  if (!point) return;
  light(point.ownerSVGElement, point.parentNode.dataset.s);
  tip.textContent = point.getAttribute("aria-label");
  const place = point.getBoundingClientRect();
  const left = Math.min(place.left + 14, innerWidth - tip.offsetWidth - 8);
  tip.style.left = Math.max(left, 4) + "px";
  tip.style.top = Math.max(place.top - tip.offsetHeight - 6, 4) + "px";
}

function light(chart, solver) {
  const found = all(`[data-s="${solver}"]`, chart);
  chart.classList.toggle("dim", found.length > 0);
  for (const each of found) each.classList.add("hot");
}

function nearest(chart, event) {
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
  const far = (use) => Math.hypot(use.x.baseVal.value - place.x, use.y.baseVal.value - place.y);
  const points = all(".curve:not(.off) use", chart);
  const found = points.reduce((best, use) => (best && far(best) <= far(use) ? best : use), null);
  return found && far(found) < 26 ? found : null;
}

function step(point, key) {
  const curve = point.parentNode;
  const along = all("use", curve);
  const turn = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[key];
  if (key === "ArrowLeft" || key === "ArrowRight") return along[along.indexOf(point) + turn];
  const curves = all(".curve:not(.off)", curve.ownerSVGElement).filter((each) => each.querySelector("use"));
  const next = curves[curves.indexOf(curve) + turn];
  const x = point.x.baseVal.value;
  return next && all("use", next).sort((a, b) => Math.abs(a.x.baseVal.value - x) - Math.abs(b.x.baseVal.value - x))[0];
}

function sort(head) {
  const table = head.closest("table");
  const column = [...head.parentNode.children].indexOf(head);
  const value = (row) => row.children[column].dataset.v ?? row.children[column].textContent;
  const rows = all("tbody tr", table);
  const numeric = rows.every((row) => !isNaN(value(row)));
  const before = head.getAttribute("aria-sort");
  const order = before ? (before === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
  const turn = order === "ascending" ? 1 : -1;
  for (const each of all("[aria-sort]", table)) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (!x || !y) return Number(!x) - Number(!y);
    return turn * (numeric ? x - y : x.localeCompare(y));
  });
  table.tBodies[0].append(...rows);
}

const FORMS = {
  CSV: (table) => cells(table, (cell) => {
    const text = cell.dataset.v ?? cell.textContent.trim();
    const safe = /^\s*[=+\-@]/.test(text) && isNaN(text) ? "'" + text : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }).map((row) => row.join(",")).join("\n") + "\n",
  LaTeX: (table) => {
    const rows = cells(table, (cell) => {
      const bold = cell.querySelector("b");
      const text = latex((bold || cell.querySelector("span, button") || cell).textContent.trim());
      return bold ? `\\textbf{${text}}` : cell.querySelector(".tie") ? text + "$^\\approx$" : text;
    }).map((row) => row.join(" & ") + " \\\\");
    const columns = "l" + "r".repeat(rows[0].split(" & ").length - 1);
    return [`\\begin{tabular}{${columns}}`, "\\toprule", rows[0], "\\midrule", ...rows.slice(1), "\\bottomrule",
      "\\end{tabular}", ""].join("\n");
  },
};

function cells(table, text) {
  const rows = all("tr", table).filter((row) => !row.hidden);
  return rows.map((row) => [...row.children].filter((cell) => !cell.hidden).map(text));
}

function latex(text) {
  const named = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };
  const other = { "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}" };
  return text.replace(/[\\~^<>|&%$#_{}[\]*]/g, (c) => named[c] || other[c] || (/[[\]*]/.test(c) ? `{${c}}` : "\\" + c));
}

function copy(button) {
  const area = document.createElement("textarea");
  area.value = FORMS[button.dataset.copy](one(button.getAttribute("aria-controls")));
  area.readOnly = true;
  area.setAttribute("aria-label", "Table as " + button.dataset.copy);
  open([area]);
  area.select();
  navigator.clipboard?.writeText(area.value).catch(() => {});
}

function open(content) {
  one("shown").replaceChildren(...content);
  one("dialog").showModal();
}

function framed(caption, ...images) {
  const figure = document.createElement("figure");
  const words = document.createElement("figcaption");
  words.textContent = caption;
  const frame = document.createElement("div");
  frame.append(...images);
  figure.append(frame, words);
  if (images.length > 1) frame.className = "difference";
  return figure;
}

function truthOf(shot) {
  return shot.closest(".gallery").querySelector(".truth img");
}

function over(shot) {
  const image = truthOf(shot).cloneNode();
  image.className = "over";
  image.alt = "";
  return image;
}

function enlarge(shot) {
  const image = () => shot.querySelector("img").cloneNode();
  const sound = shot.parentNode.querySelector("audio");
  const own = framed(shot.dataset.caption, image());
  const compared = truthOf(shot) && !sound && !shot.closest(".truth");
  open(compared ? [own, framed("ground truth", truthOf(shot).cloneNode()), framed("difference, 4 times", image(), over(shot))]
    : [own]);
}

function differ(button) {
  const gallery = button.closest(".gallery");
  const on = gallery.classList.toggle("differing");
  button.setAttribute("aria-pressed", String(on));
  for (const shot of all("td:not(.truth) .shot", gallery)) if (!shot.querySelector(".over")) shot.append(over(shot));
}

function choose(which) {
  const chart = current().querySelector(".panel:not([hidden]) .chart");
  const named = new Set(all(".curve.named", chart).map((each) => each.dataset.s));
  for (const { dataset } of all("[data-toggle]", current())) {
    const out = which === "none" || (which === "named" && !named.has(dataset.s));
    off[out ? "add" : "delete"](dataset.s);
  }
  show();
}

const CLICKS = [
  [".sort", (button) => sort(button.closest("th"))],
  ["[data-copy]", copy],
  ["[data-toggle]", ({ dataset }) => { off[off.has(dataset.s) ? "delete" : "add"](dataset.s); show(); }],
  ["[data-all]", (button) => choose(button.dataset.all)],
  [".shot", enlarge],
  [".differ", differ],
  ["#close", () => one("dialog").close()],
  ["#theme", (button) => {
    const dark = button.textContent === "Dark";
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    button.textContent = dark ? "Light" : "Dark";
  }],
];
addEventListener("click", ({ target }) => {
  for (const [selector, act] of CLICKS) if (target.closest(selector)) act(target.closest(selector));
});
addEventListener("input", ({ target }) => {
  if (target.id in asked) asked[target.id] = target.value;
  if (target.closest(".bar")) { show(); writeLink(); }
});
addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", () => {
  if (readLink()) { show(); one("scenarios").scrollIntoView(); }
});
addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.(".chart");
  tell(chart && nearest(chart, event));
  const button = event.target.closest?.(".scenario [data-s]:not(.chart *)");
  if (button) for (const each of all(".chart", current())) light(each, button.dataset.s);
});
addEventListener("focusin", ({ target }) => tell(target.matches(".curve use") ? target : null));
addEventListener("keydown", (event) => {
  if (event.key === "Escape") tell(null);
  if (!event.target.matches?.(".curve use") || !event.key.startsWith("Arrow")) return;
  event.preventDefault();
  const next = step(event.target, event.key);
  if (next) { enter(next.ownerSVGElement, next); next.focus(); }
});
addEventListener("play", ({ target }) => {
  for (const each of all("audio")) if (each !== target) each.pause();
}, true);
if (matchMedia("(prefers-color-scheme: dark)").matches) one("theme").textContent = "Light";
const linked = readLink();
show();
if (linked) one("scenarios").scrollIntoView();
