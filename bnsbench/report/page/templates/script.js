"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (id) => document.getElementById(id);
const asked = { scenario: "", measure: "", nfe: "", solver: "" }, off = new Set();
const articles = all(".scenario");
const current = () => articles.find((each) => each.dataset.scenario === asked.scenario) || articles[0];

function readLink() {
  const words = new URLSearchParams(location.hash.slice(1));
  const named = Object.keys(asked).filter((key) => words.has(key));
  for (const key of named) asked[key] = words.get(key);
  if (named.length) show();
  if (named.length && articles.length) one("scenarios").scrollIntoView();
}

function wanted(kind, name) {
  const box = all("[data-kind]").find((each) => each.dataset.kind === kind);
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
  if (!all("[data-n]", article).some((each) => each.dataset.n === asked.nfe)) asked.nfe = "";
  const elsewhere = ({ dataset: { n } }) => Boolean(n && asked.nfe) && n !== asked.nfe;
  for (const each of all("[data-n]", article)) each.hidden = elsewhere(each);
  for (const [id, value] of Object.entries({ ...asked, measure })) if (one(id).value !== value) one(id).value = value;
  for (const box of ["ends", "rank"]) document.body.classList.toggle("no-" + box, !one(box).checked);
  const hidden = new Set(off);
  for (const button of all("[data-toggle]", article)) {
    const { s, k } = button.dataset;
    button.hidden = !wanted(k, button.textContent);
    button.setAttribute("aria-pressed", String(!off.has(s)));
    if (button.hidden) hidden.add(s);
    for (const row of all(`tr[data-s="${s}"]`, article)) row.hidden = button.hidden || elsewhere(row);
  }
  for (const each of all(".chart [data-s]")) each.classList.toggle("off", hidden.has(each.dataset.s));
  for (const chart of all(".chart")) enter(chart, chart.querySelector(".curve:not(.off) use"));
  const rows = all(".panel:not([hidden]) tbody tr", article);
  const left = rows.filter((row) => !row.hidden).length;
  one("status").textContent = `${article.querySelector("h3").textContent}: ${left} of ${rows.length} solvers by ${measure}`;
}

function enter(chart, point) { // the point of a chart that the tabulator key reaches
  for (const each of all("use[tabindex]", chart)) each.removeAttribute("tabindex");
  point?.setAttribute("tabindex", "0");
}

function light(chart, solver) {
  const found = all(".curve, .name", chart).filter((each) => each.dataset.s === solver);
  chart.classList.toggle("dim", found.length > 0);
  for (const each of found) each.classList.add("hot");
}

function tell(point) {
  const tip = one("tip");
  for (const each of all(".hot, .dim")) each.classList.remove("hot", "dim");
  tip.hidden = !point;
  if (!point) return;
  light(point.ownerSVGElement, point.parentNode.dataset.s);
  tip.textContent = point.getAttribute("aria-label");
  const place = point.getBoundingClientRect();
  tip.style.left = Math.max(Math.min(place.left + 14, innerWidth - tip.offsetWidth - 8), 4) + "px";
  tip.style.top = Math.max(place.top - tip.offsetHeight - 6, 4) + "px";
}

function nearest(chart, event) {
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
  const far = (use) => Math.hypot(use.x.baseVal.value - place.x, use.y.baseVal.value - place.y);
  const found = all(".curve:not(.off) use", chart).reduce((best, use) => (best && far(best) <= far(use) ? best : use), null);
  return found && far(found) < 26 ? found : null;
}

function step(point, key) {
  const turn = ["ArrowRight", "ArrowDown"].includes(key) ? 1 : -1;
  const along = all("use", point.parentNode);
  if (key === "ArrowLeft" || key === "ArrowRight") return along[along.indexOf(point) + turn];
  const curves = all(".curve:not(.off):has(use)", point.ownerSVGElement);
  const next = curves[curves.indexOf(point.parentNode) + turn];
  const far = (use) => Math.abs(use.x.baseVal.value - point.x.baseVal.value);
  return next && all("use", next).sort((a, b) => far(a) - far(b))[0];
}

function sort(button) {
  const head = button.closest("th"), table = button.closest("table");
  const value = (row) => row.children[head.cellIndex].dataset.v ?? row.children[head.cellIndex].textContent;
  const rows = all("tbody tr", table), numeric = rows.every((row) => !isNaN(value(row)));
  const up = head.ariaSort ? head.ariaSort === "descending" : !numeric;
  for (const each of all("[aria-sort]", table)) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const order = (x, y) => (numeric ? x - y : x.localeCompare(y)) * (up ? 1 : -1);
  const ends = (x, y) => Number(x === "") - Number(y === ""); // without a value, whatever the order
  rows.sort((a, b) => ends(value(a), value(b)) || order(value(a), value(b)));
  table.tBodies[0].append(...rows);
}

function asCsv(cell) {
  const text = cell.dataset.v ?? cell.textContent.trim();
  const safe = /^\s*[=+\-@]/.test(text) && isNaN(text) ? "'" + text : text; // no formula of a spreadsheet
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function asLatex(cell) {
  const words = { "\\": "backslash", "~": "asciitilde", "^": "asciicircum", "<": "less", ">": "greater", "|": "bar" };
  const spelt = (c) => (words[c] ? `\\text${words[c]}{}` : /[[\]*]/.test(c) ? `{${c}}` : "\\" + c);
  const shown = cell.querySelector("b, span, button") || cell;
  const text = shown.textContent.trim().replace(/[\\~^<>|&%$#_{}[\]*]/g, spelt);
  return shown.tagName === "B" ? `\\textbf{${text}}` : cell.querySelector(".tie") ? text + "$^\\approx$" : text;
}

function written(table, form) {
  const cells = (row) => [...row.children].filter((cell) => !cell.hidden).map(form === "CSV" ? asCsv : asLatex);
  const [head, ...rows] = all("tr", table).filter((row) => !row.hidden).map(cells);
  if (form === "CSV") return [head, ...rows].map((row) => row.join() + "\n").join("");
  const line = (row) => row.join(" & ") + " \\\\";
  return [`\\begin{tabular}{l${"r".repeat(head.length - 1)}}`, "\\toprule", line(head), "\\midrule", ...rows.map(line),
    "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

function copy(button) {
  const area = document.createElement("textarea");
  const form = button.dataset.copy, value = written(button.closest(".table"), form);
  Object.assign(area, { value, readOnly: true, ariaLabel: "Table as " + form });
  enlarged(area);
  area.select();
  navigator.clipboard?.writeText(area.value).catch(() => {});
}

const truthOf = (shot) => shot.closest(".gallery").querySelector(".truth img");
const enlarged = (...content) => (one("shown").replaceChildren(...content), one("dialog").showModal());
const over = (shot) => Object.assign(truthOf(shot).cloneNode(), { className: "over", alt: "" });

function framed(caption, ...images) {
  const [figure, frame, words] = ["figure", "div", "figcaption"].map((name) => document.createElement(name));
  words.textContent = caption;
  frame.className = images.length > 1 ? "difference" : "";
  frame.append(...images);
  figure.append(frame, words);
  return figure;
}

function enlarge(shot) {
  const own = shot.querySelector("img"), truth = truthOf(shot);
  const shown = [framed(shot.dataset.caption, own.cloneNode())];
  if (truth && truth !== own) shown.push(framed("ground truth", truth.cloneNode()));
  if (shown.length > 1 && shot.closest(".pictures")) shown.push(framed("difference, times 4", own.cloneNode(), over(shot)));
  enlarged(...shown);
}

function differ(button) {
  const gallery = button.closest(".gallery");
  button.ariaPressed = String(gallery.classList.toggle("differing"));
  for (const shot of all("td:not(.truth) .shot:not(:has(.over))", gallery)) shot.append(over(shot));
}

function choose({ dataset: { all: which } }) {
  const named = all(".panel:not([hidden]) .curve.named", current()).map((each) => each.dataset.s);
  for (const { dataset: { s } } of all("[data-toggle]", current())) {
    off[which === "none" || (which === "named" && !named.includes(s)) ? "add" : "delete"](s);
  }
  show();
}

function theme(button) {
  const { style } = document.documentElement;
  style.colorScheme = button.textContent.toLowerCase();
  button.textContent = style.colorScheme === "dark" ? "Light" : "Dark";
}

const toggle = ({ dataset: { s } }) => { off.delete(s) || off.add(s); show(); };
const CLICKS = { ".sort": sort, "[data-copy]": copy, "[data-toggle]": toggle, "[data-all]": choose, ".shot": enlarge,
  ".differ": differ, "#theme": theme };
addEventListener("click", ({ target }) => {
  for (const [selector, act] of Object.entries(CLICKS)) if (target.closest(selector)) act(target.closest(selector));
});
const answer = ({ target }) => {
  if (target.id in asked) asked[target.id] = target.value;
  show();
  history.replaceState(null, "", "#" + new URLSearchParams(Object.entries(asked).filter(([, value]) => value)));
};
for (const event of ["input", "change"]) addEventListener(event, answer);
addEventListener("hashchange", readLink);
addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.(".chart");
  const button = event.target.closest?.(".scenario button[data-s], .scenario tr[data-s]");
  tell(chart && nearest(chart, event));
  if (button) for (const each of all(".chart", current())) light(each, button.dataset.s);
});
addEventListener("focusin", ({ target }) => tell(target.matches(".curve use") ? target : null));
addEventListener("keydown", (event) => {
  if (event.key === "Escape") tell(null);
  if (!event.target.matches?.(".curve use") || !event.key.startsWith("Arrow")) return;
  event.preventDefault();
  const next = step(event.target, event.key);
  if (next) enter(next.ownerSVGElement, next);
  next?.focus();
});
addEventListener("play", ({ target }) => all("audio").forEach((each) => each !== target && each.pause()), true);
if (matchMedia("(prefers-color-scheme: dark)").matches) one("theme").textContent = "Light";
if (matchMedia("(max-width: 640px)").matches) for (const each of all(".legend")) each.open = false;
show();
readLink();
