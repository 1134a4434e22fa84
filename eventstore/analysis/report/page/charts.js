"use strict";
/* Charts of a report: uPlot with a legend of buttons, a tooltip, keys, and a table of the figures. */
const Charts = (() => {
  const drawn = [];          // every chart that was drawn
  let ends = [0, 1];         // the first and the last time in any chart, in seconds
  let span = [0, 1];         // the same with a little room
  let following = false;     // whether a zoom is being passed on to the other charts
  const colour = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const utc = (seconds, digits = 3) =>
    new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, digits ? 20 + digits : 19) + " UTC";

  function el(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);   // strings become text nodes: no text is ever read as HTML
    return made;
  }

  function figureText(value, unit) {
    if (value === null || value === undefined) return "none";
    const size = Math.abs(value);
    if (unit === "bytes") {
      for (const [scale, name] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]])
        if (size >= scale) return `${trimmed(value / scale, 2)} ${name}`;
      return `${trimmed(value, 0)} bytes`;
    }
    if (unit === "s") {
      for (const [scale, name] of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]])
        if (size >= scale) return `${short(value / scale)} ${name}`;
      return size ? `${short(value * 1e9)} ns` : "0 s";
    }
    const digits = size >= 1000 || size === 0 ? 2 : size >= 1 ? 4 : 8;
    return `${trimmed(value, digits)}${unit && unit !== "units" ? ` ${unit}` : ""}`;
  }
  /* The ticks of an axis, all of one unit: the first one whose texts have room, else the shortest. */
  function axisTexts(ticks, unit, room) {
    if (unit) return ticks.map((tick) => figureText(tick, unit));
    const most = Math.max(...ticks.map(Math.abs));
    const made = [[1e3, "k"], [1e6, "M"], [1e9, "G"], [1e12, "T"]].filter((one) => most >= one[0])
      .map(([scale, name]) => ticks.map((tick) => `${trimmed(tick / scale, 6)}${tick ? name : ""}`));
    const length = (texts) => Math.max(...texts.map((text) => text.length));
    const all = [ticks.map((tick) => figureText(tick, "")), ...made];
    return all.find((texts) => length(texts) <= room) ?? all.sort((a, b) => length(a) - length(b))[0];
  }
  const trimmed = (value, digits) =>
    value.toLocaleString("en-US", { maximumFractionDigits: digits });
  const short = (value) => value.toLocaleString("en-US", { maximumSignificantDigits: 3 });

  /* The series of a chart as uPlot takes them: one list of x, then one list of y for each. */
  function aligned(chart) {
    const scale = chart.x === "time" ? 1e6 : 1;
    const tables = chart.series.map((one) => {
      let at = 0;
      return [one.x.map((step) => (at += step) / scale), [...one.y]];
    });
    if (chart.x === "time" && (chart.kind === "step" || chart.kind === "area"))
      for (const [x, y] of tables)   // a value holds until the last event
        if (x[x.length - 1] < ends[1]) { x.push(ends[1]); y.push(y[y.length - 1]); }
    if (chart.x === "bound")   // bounds of a histogram are no steps, and stand side by side
      return [chart.series[0].x.map((_, index) => index), chart.series[0].y];
    if (tables.length === 1) return tables[0];
    if (chart.kind === "stacked") return [tables[0][0], ...tables.map((one) => one[1])];
    return uPlot.join(tables);
  }

  function stacked(data, shown) {
    const sums = data[0].map(() => 0);
    return [data[0], ...data.slice(1).map((values, index) =>
      values.map((value, at) => (shown[index] ? (sums[at] += value) : null)))];
  }

  /* The value that a step curve has at a point of another series: that of the last own point. */
  function valueAt(values, index, kind) {
    let at = index;
    while ((kind === "step" || kind === "area") && at > 0 && (values[at] === undefined || values[at] === null)) at--;
    return values[at];
  }

  function place(chart, data, index, exact = true) {
    const x = data[0][index];
    if (chart.x === "time") return utc(x, exact || span[1] - span[0] < 600 ? 3 : 0);
    if (chart.x === "bound") return `up to ${boundText(chart.series[0].x[index])}`;
    return `event ${trimmed(x, 0)}`;
  }
  const boundText = (nanoseconds) => figureText(nanoseconds / 1e9, "s");

  const DAY = 86400;
  const TICKS = [   // 24 hours, and the date below the first tick of a day
    [DAY * 365, "{YYYY}", null, null, null, null, null, null, 1],
    [DAY * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [DAY, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
    [1, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
    [0.001, ":{ss}.{fff}", "\n{D} {MMM} {YYYY} {HH}:{mm}", null, "\n{D} {MMM} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
  ];

  function axes(chart) {
    const shared = {
      stroke: () => colour("--soft"),
      grid: { stroke: () => colour("--grid"), width: 1 },
      ticks: { stroke: () => colour("--grid"), width: 1 },
      font: "12px system-ui, 'DejaVu Sans', sans-serif",
    };
    const below = { ...shared, space: chart.x === "time" ? 72 : 90 };
    if (chart.x !== "time") Object.assign(below, { label: chart.x === "event" ? "event" : "up to", labelSize: 18, labelFont: shared.font, size: 30 });
    if (chart.x === "time") below.values = TICKS;
    else if (chart.x === "event") below.values = (_, ticks) => ticks.map((tick) => Number.isInteger(tick) ? trimmed(tick, 0) : "");
    else below.values = (_, ticks) => ticks.map((tick) => Number.isInteger(tick) && chart.series[0].x[tick] ? `${boundText(chart.series[0].x[tick])}` : "");
    const unit = chart.unit === "bytes" || chart.unit === "s" ? chart.unit : "";
    const size = chart.small ? 58 : innerWidth < 600 ? 72 : 84;   // equal, so that charts of time align
    return [below, {
      ...shared, size,
      values: (_, ticks) => axisTexts(ticks, unit, (size - 14) / 6.6),
      space: chart.small ? 28 : 36,
    }];
  }

  function lines(chart) {
    return chart.series.map((one, index) => {
      const key = `--c${Math.min(index + 1, 10)}`;
      const alone = new Set(one.x).size === 1;   // one moment makes no line: a point is drawn
      const line = {
        label: one.name, stroke: () => colour(key), width: 1.6, spanGaps: true,
        points: { show: alone, size: 7, fill: () => colour(key) },
      };
      if (chart.kind === "step") line.paths = uPlot.paths.stepped({ align: 1 });
      if (chart.kind === "area") {
        line.paths = uPlot.paths.stepped({ align: 1 });
        line.fill = () => colour(key) + "2e";
        line.fillTo = () => 0;
      }
      if (chart.kind === "stacked" || chart.kind === "bars") {
        line.paths = uPlot.paths.bars({ size: [0.85, 60], align: chart.kind === "bars" ? 0 : 1 });
        line.fill = () => colour(key);
        line.width = 0;
        line.points = { show: false };
      }
      if (chart.kind === "points") {
        line.paths = () => null;
        line.points = { show: true, size: one.x.length < 60 ? 8 : 5, fill: () => colour(key) };
      }
      return line;
    });
  }

  /* The y axis includes zero where an area or a bar begins there. */
  function heights(chart) {
    const fromZero = chart.kind !== "step";
    return (_, low, high) => {
      if (low === null || high === null) return [0, 1];
      let [from, to] = fromZero ? [Math.min(low, 0), Math.max(high, 0)] : [low, high];
      if (from === to) return [from - Math.max(Math.abs(from) * 0.01, 0.5), to + Math.max(Math.abs(to) * 0.01, 0.5)];
      const room = (to - from) * 0.08;
      return [fromZero && from === 0 ? 0 : from - room, fromZero && to === 0 ? 0 : to + room];
    };
  }

  function drawMarks(plot, chart, moments) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    if (chart.x === "time") {
      ctx.strokeStyle = colour("--note-line");
      ctx.lineWidth = 1.5 * ratio;
      ctx.setLineDash([5 * ratio, 4 * ratio]);
      for (const moment of moments) {
        const x = plot.valToPos(moment.x / 1e6, "x", true);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      ctx.setLineDash([]);
    }
    const size = 4 * ratio;
    const last = {};
    for (const mark of chart.markers) {
      const x = plot.valToPos(mark.x / 1e6, "x", true);
      if (x - (last[mark.kind] ?? -Infinity) < 2.5 * size) continue;   // zoom shows more
      last[mark.kind] = x;
      const y = plot.valToPos(mark.y, "y", true);
      const up = mark.kind === "buy" ? 1 : -1;
      ctx.fillStyle = colour(mark.kind === "buy" ? "--good" : "--bad");
      ctx.strokeStyle = colour("--card");
      ctx.lineWidth = ratio;
      ctx.beginPath();
      ctx.moveTo(x, y + up * ratio);
      ctx.lineTo(x - size, y + up * (ratio + 2 * size));
      ctx.lineTo(x + size, y + up * (ratio + 2 * size));
      ctx.closePath();
      ctx.fill();
      ctx.stroke();
    }
    ctx.restore();
  }

  /* The lines of text for a point: its place, the values there, and marks close to it. */
  function readings(entry, index) {
    const { chart, plot, data, shown, moments } = entry;
    const found = [place(chart, data, index)];
    chart.series.forEach((one, number) => {
      if (shown[number]) found.push(`${one.name}: ${figureText(valueAt(data[number + 1], index, chart.kind), chart.unit)}`);
    });
    if (chart.x === "time") {
      const at = data[0][index];
      const near = 4 * (plot.scales.x.max - plot.scales.x.min) / Math.max(plot.bbox.width / devicePixelRatio, 1);
      for (const mark of [...chart.markers, ...moments])
        if (found.length < 9 && Math.abs(mark.x / 1e6 - at) <= near) found.push(mark.text);
    }
    return found;
  }

  function showTip(entry) {
    const { plot, tip } = entry;
    const index = plot.cursor.idx;
    const wanted = entry.active && index !== null && index !== undefined && plot.cursor.left >= 0;
    tip.hidden = !wanted;
    if (!wanted) return;
    const [where, ...rest] = readings(entry, index);
    tip.replaceChildren(el("b", {}, where), ...rest.map((text) => el("div", {}, text)));
    const left = plot.bbox.left / devicePixelRatio + plot.cursor.left;
    const room = plot.width - left;
    tip.style.top = "8px";
    tip.style.left = room > tip.offsetWidth + 20 ? `${left + 14}px` : `${Math.max(left - tip.offsetWidth - 14, 0)}px`;
  }

  function zoom(from, to) {
    following = true;
    for (const { plot, chart } of drawn)
      if (chart.x === "time") plot.setScale("x", { min: from, max: to });
    following = false;
  }

  function zoomBy(entry, factor) {
    const { min, max } = entry.plot.scales.x;
    const index = entry.plot.cursor.idx;
    const middle = index === null || index === undefined ? (min + max) / 2 : entry.data[0][index];
    let [from, to] = [middle - (middle - min) * factor, middle + (max - middle) * factor];
    if (entry.chart.x === "time") zoom(Math.max(from, span[0]), Math.min(to, span[1]));
    else entry.plot.setScale("x", { min: from, max: to });
  }

  function showAll(entry) {
    if (entry.chart.x === "time") zoom(...span);
    else entry.plot.setData(entry.plot.data, true);
  }

  function moveTo(entry, index) {
    const { plot, data, chart } = entry;
    const at = Math.max(0, Math.min(index, data[0].length - 1));
    const x = data[0][at];
    if (x < plot.scales.x.min || x > plot.scales.x.max) showAll(entry);
    const first = valueAt(data[1], at, chart.kind);
    plot.setCursor({ left: plot.valToPos(x, "x"), top: plot.valToPos(first ?? 0, "y") });
    entry.index = at;
    document.getElementById("live").textContent = readings(entry, at).join(", ");
  }

  function onKey(entry, event) {
    const count = entry.data[0].length;
    const step = event.shiftKey ? Math.max(1, Math.round(count / 10)) : 1;
    const now = entry.index ?? -1;
    const actions = {
      ArrowRight: () => moveTo(entry, now + step), ArrowLeft: () => moveTo(entry, now < 0 ? count : now - step),
      Home: () => moveTo(entry, 0), End: () => moveTo(entry, count - 1),
      "+": () => zoomBy(entry, 0.5), "=": () => zoomBy(entry, 0.5), "-": () => zoomBy(entry, 2),
      "0": () => showAll(entry), Escape: () => showAll(entry),
    };
    if (!(event.key in actions) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    entry.active = true;
    actions[event.key]();
  }

  function legend(entry) {
    const { chart, plot, shown, moments } = entry;
    const parts = [];
    if (chart.series.length > 1)
      chart.series.forEach((one, index) => {
        const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
        entry.swatches.push([swatch, `--c${Math.min(index + 1, 10)}`]);
        parts.push(el("button", {
          type: "button", "aria-pressed": "true",
          onclick: (event) => {
            shown[index] = !shown[index];
            event.currentTarget.setAttribute("aria-pressed", String(shown[index]));
            plot.setSeries(index + 1, { show: shown[index] });
            if (chart.kind === "stacked") plot.setData(ordered(chart, stacked(entry.data, shown)), false);
          },
        }, swatch, one.name));
      });
    const key = (text, name, glyph = "") => {
      const swatch = el("span", { class: glyph ? "glyph" : "swatch", "aria-hidden": "true" }, glyph);
      entry.swatches.push([swatch, name]);
      parts.push(el("span", { class: "key" }, swatch, text));
    };
    if (chart.markers.some((mark) => mark.kind === "buy")) key("buy", "--good", "▲");
    if (chart.markers.some((mark) => mark.kind === "sell")) key("sell", "--bad", "▼");
    if (chart.x === "time" && moments.length && !chart.small) key("timeline or repair", "--note-line");
    return parts.length ? el("div", { class: "legend" }, ...parts) : "";
  }

  /* Bars are drawn from the highest sum to the lowest, so that each covers the ones behind. */
  const ordered = (chart, data) => (chart.kind === "stacked" ? [data[0], ...data.slice(1).reverse()] : data);

  function table(chart, data) {
    const first = chart.x === "time" ? "From" : chart.x === "bound" ? "Up to" : "From event";
    const count = data[0].length;
    const sums = chart.kind === "stacked";
    const each = chart.kind === "bars" || count <= 24;
    const columns = [first];
    for (const one of chart.series)
      columns.push(...(each || sums ? [one.name] : ["first", "lowest", "highest", "last"].map((name) => `${one.name}, ${name}`)));
    const rows = [];
    const low = data[0][0], width = (data[0][count - 1] - low) / 24 || 1;
    let at = 0;
    while (at < count) {
      let end = at + 1;
      if (!each) while (end < count && Math.floor((data[0][end] - low) / width) === Math.floor((data[0][at] - low) / width)) end++;
      const row = [place(chart, data, at, false)];
      for (const values of data.slice(1)) {
        const inside = values.slice(at, end).filter((value) => value !== undefined && value !== null);
        const text = (value) => figureText(value, chart.unit);
        if (sums) row.push(text(inside.reduce((sum, value) => sum + value, 0)));
        else if (each) row.push(text(valueAt(values, at, chart.kind)));
        else if (!inside.length) row.push("", "", "", "");
        else row.push(text(inside[0]), text(Math.min(...inside)), text(Math.max(...inside)), text(inside[inside.length - 1]));
      }
      rows.push(row);
      at = end;
    }
    return [columns, rows];
  }

  const height = (chart) => (chart.small ? 170 : innerWidth < 600 ? 220 : 290);

  function draw(chart, host, moments) {
    const data = aligned(chart);
    const tip = el("div", { class: "tip", hidden: true });
    const entry = { chart, data, tip, moments, shown: chart.series.map(() => true), swatches: [], active: false };
    const time = chart.x === "time";
    const options = {
      width: Math.max(host.clientWidth, 100), height: height(chart),
      tzDate: (stamp) => uPlot.tzDate(new Date(stamp * 1000), "Etc/UTC"),
      legend: { show: false },
      cursor: {
        sync: time ? { key: "time" } : undefined, y: false, drag: { x: true, y: false, setScale: true },
        bind: { dblclick: () => () => (showAll(entry), null) },
        points: { size: 7, fill: (plot, index) => plot.series[index].stroke(plot, index) },
      },
      scales: { x: { time, ...(chart.x === "bound" ? { range: (_, low, high) => [low - 0.6, high + 0.6] } : {}) }, y: { range: heights(chart) } },
      axes: axes(chart),
      series: [{}, ...(chart.kind === "stacked" ? lines(chart).reverse() : lines(chart))],
      hooks: {
        draw: [(plot) => drawMarks(plot, chart, moments)],
        setCursor: [() => entry.plot && showTip(entry)],
        setScale: [(plot, key) => {
          if (key === "x" && time && !following && entry.plot) zoom(plot.scales.x.min, plot.scales.x.max);
        }],
      },
    };
    entry.plot = new uPlot(options, ordered(chart, chart.kind === "stacked" ? stacked(data, entry.shown) : data), host);
    host.append(tip);
    drawn.push(entry);
    const over = entry.plot.over;
    over.addEventListener("mouseenter", () => { entry.active = true; });
    over.addEventListener("mouseleave", () => { entry.active = false; tip.hidden = true; });
    host.addEventListener("keydown", (event) => onKey(entry, event));
    host.addEventListener("blur", () => { entry.active = false; tip.hidden = true; });
    new ResizeObserver(() => entry.plot.setSize({ width: Math.max(host.clientWidth, 100), height: height(chart) })).observe(host);
    return entry;
  }

  function recolour() {
    for (const { plot, swatches } of drawn) {
      plot.redraw(false, true);
      for (const [swatch, name] of swatches) swatch.style[swatch.className === "glyph" ? "color" : "background"] = colour(name);
    }
  }

  function begin(charts) {
    const found = charts.filter((chart) => chart.x === "time").flatMap((chart) =>
      chart.series.map((one) => [one.x[0], one.x.reduce((sum, step) => sum + step, 0)]));
    if (!found.length) return;
    ends = [Math.min(...found.map((one) => one[0])) / 1e6, Math.max(...found.map((one) => one[1])) / 1e6];
    const room = Math.max((ends[1] - ends[0]) * 0.01, 0.01);
    span = [ends[0] - room, ends[1] + room];
  }

  return { begin, draw, el, figureText, legend, recolour, table, showEverything: () => drawn.some(({ chart }) => chart.x === "time") && zoom(...span), drawn };
})();
