"use strict";
// Shows the states that the server tells. Nothing is sent back.

const element = (id) => document.getElementById(id);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const whole = (number) => Math.round(number).toLocaleString("en");
const fixed = (number, digits = 1) =>
  number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function make(tag, className, parent) {
  const node = document.createElement(tag);
  node.className = className;
  parent.append(node);
  return node;
}

// Makes as many children as there are values, by `build`, and gives each its value.
function fill(parent, values, build, update) {
  while (parent.children.length > values.length) parent.lastChild.remove();
  while (parent.children.length < values.length) build(parent);
  values.forEach((value, place) => update(parent.children[place], value));
}

// ---- plots

const plots = new Set();

function plot(parent, options) {
  const room = () => ({ width: Math.max(40, parent.clientWidth), height: options.height });
  const drawn = new uPlot({ ...options, ...room() }, options.series.map(() => []), parent);
  plots.add(drawn);
  new ResizeObserver(() => drawn.setSize(room())).observe(parent);
  return drawn;
}

function sparkline(parent) {
  return plot(parent, {
    height: 26, padding: [3, 1, 3, 1], legend: { show: false }, cursor: { show: false },
    axes: [{ show: false }, { show: false }],
    scales: { x: { time: false }, y: { range: [0, 1] } },
    series: [{}, { stroke: () => color("first"), width: 1.5, points: { show: false } }],
  });
}

function timeline(parent, names, colors) {
  const axis = {
    stroke: () => color("dim"), font: "12px system-ui, sans-serif",
    grid: { stroke: () => color("line"), width: 1 }, ticks: { show: false },
  };
  const short = Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
  return plot(parent, {
    height: 150, cursor: { show: false },
    legend: { live: false, markers: { fill: (_, place) => color(colors[place - 1]), width: 0 } },
    axes: [
      { ...axis, size: 28, values: (_, ticks) => ticks.map((tick) => tick + " s") },
      { ...axis, size: 46, values: (_, ticks) => ticks.map((tick) => short.format(tick)) },
    ],
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
    series: [{}, ...names.map((label, place) => (
      { label, stroke: () => color(colors[place]), width: place || names.length < 3 ? 2 : 5, points: { show: false } }))],
  });
}

const rates = timeline(element("rates"), ["in", "sent", "lost"], ["dim", "first", "bad"]);
const delays = timeline(element("delays"), ["p50", "p95"], ["first", "second"]);
const load = timeline(element("load"), ["computing"], ["third"]);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach((each) => each.redraw()));

// ---- parts of the page

function classRow(parent) {
  const row = make("div", "row", parent);
  make("div", "name", row);
  make("div", "", make("div", "bar", row));
  make("div", "score", row);
  row.plot = sparkline(make("div", "history", row));
}

function showClass(row, value) {
  const [name, bar, score] = row.children;
  row.classList.toggle("best", value.best);
  set(name, value.name);
  name.title = value.name;
  bar.firstChild.style.width = 100 * value.share + "%";
  set(score, whole(value.score));
  row.plot.setData([value.history.map((_, place) => place), value.history]);
}

function showAnswer(state) {
  const last = state.last;
  if (!last) return;
  set(element("class"), last.class);
  const ticks = whole(last.ticks) + (state.window_ticks ? " of " + whole(state.window_ticks) : "");
  const lost = last.lost ? ", " + whole(last.lost) + " lost" : "";
  set(element("said"), "ahead by " + whole(last.margin) + ", decided " + (last.early ? "early, " : "") +
    "after " + ticks + " ticks and " + whole(last.events) + " events" + lost);
  set(element("before"), state.before.length ? "before: " + state.before.join(" ") : "");
}

function showFlows(flows) {
  fill(element("flows"), flows, (parent) => {
    const row = make("tr", "", parent);
    for (let cell = 0; cell < 3; cell++) make("td", "", row);
  }, (row, flow) => {
    row.classList.toggle("lost", flow.count > 0 && flow.name !== "in" && flow.name !== "sent");
    [flow.name, whole(flow.rate), whole(flow.count)].forEach((text, place) => set(row.children[place], text));
  });
}

function health(state) {
  const facts = [["results", whole(state.results)]];
  if (state.accuracy !== null) facts.push(["right", fixed(100 * state.accuracy) + " %"]);
  const delay = state.delay_ms;
  if (delay) {
    facts.push(["event to result, p50", fixed(delay.p50) + " ms"]);
    facts.push(["event to result, p95", fixed(delay.p95) + " ms"]);
  }
  facts.push(["load", state.load === null ? "not measured" : fixed(100 * state.load) + " %"]);
  const source = state.source;
  if (source) {
    facts.push(["source gone", whole(source.disconnects) + " times, " + fixed(source.blind_s) + " s blind"]);
    facts.push(["without sense", whole(source.malformed) + " pieces"]);
    facts.push(["late", whole(source.late) + " events"]);
    facts.push(["new starts of its clock", whole(source.restarts)]);
  }
  const link = state.link;
  if (link) {
    facts.push(["link, there and back", fixed(link.round_trip_us / 1000) + " ms"]);
    facts.push(["link, room used", fixed(100 * link.in_flight / Math.max(link.window, 1), 0) + " %"]);
    facts.push(["frames damaged", whole(link.bad_crc + link.malformed + link.too_long)]);
    facts.push(["frames sent again", whole(link.sent_again)]);
  }
  return facts;
}

function showHealth(state) {
  fill(element("health"), health(state).flat(), (parent) => {
    make(parent.children.length % 2 ? "dd" : "dt", "", parent);
  }, set);
}

function showPicture(picture) {
  const canvas = element("picture");
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  const pixels = atob(picture.pixels);
  const context = canvas.getContext("2d");
  const image = context.createImageData(picture.width, picture.height);
  for (let place = 0; place < pixels.length; place++) {
    const on = (pixels.charCodeAt(place) >> 4) / 15, off = (pixels.charCodeAt(place) & 15) / 15;
    image.data.set([255 * on, 140 * Math.max(on, off), 255 * off, 255], 4 * place);
  }
  context.putImageData(image, 0, 0);
}

function showTimeline(rows) {
  const column = (place, factor = 1) => rows.map((row) => row[place] === null ? null : factor * row[place]);
  rates.setData([column(0), column(1), column(2), column(3)]);
  delays.setData([column(0), column(4), column(5)]);
  load.setData([column(0), column(6, 100)]);
}

function status(lamp, text) {
  element("lamp").className = lamp;
  set(element("status"), text);
}

let last = null;

function show(state) {
  last = state;
  document.title = (state.last ? state.last.class + " · " : "") + state.title;
  set(element("title"), state.title);
  status("live", fixed(state.seconds) + " s");
  showAnswer(state);
  fill(element("classes"), state.classes, classRow, showClass);
  showFlows(state.flows);
  showHealth(state);
  showPicture(state.picture);
  showTimeline(state.timeline);
}

// ---- the states

const source = new EventSource("states");
source.addEventListener("state", (event) => show(JSON.parse(event.data)));
source.addEventListener("over", () => {
  source.close();
  status("over", "ended after " + element("status").textContent);
});
source.addEventListener("error", () => {
  if (source.readyState === EventSource.CLOSED) {
    status("over", "refused: too many are looking on; reload to try again");
  } else {
    status("waiting", "no connection, trying again");
  }
});
