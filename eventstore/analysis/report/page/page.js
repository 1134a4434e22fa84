"use strict";
/* The page of a report: facts, sections, tables and colours. All texts become text nodes. */
(() => {
  const { el } = Charts;
  const report = JSON.parse(document.getElementById("figures").textContent);
  const byId = (id) => document.getElementById(id);

  function themes() {
    const names = ["auto", "light", "dark"];
    const prefers = matchMedia("(prefers-color-scheme: dark)");
    let chosen = "auto";
    try { chosen = localStorage.getItem("eventstore-report-theme") ?? "auto"; } catch { /* a file may have no storage */ }
    if (!names.includes(chosen)) chosen = "auto";
    const apply = () => {
      const dark = chosen === "dark" || (chosen === "auto" && prefers.matches);
      document.documentElement.dataset.theme = dark ? "dark" : "light";
      byId("theme").textContent = `Colours: ${chosen}`;
      Charts.recolour();
    };
    byId("theme").addEventListener("click", () => {
      chosen = names[(names.indexOf(chosen) + 1) % names.length];
      try { localStorage.setItem("eventstore-report-theme", chosen); } catch { /* then only for now */ }
      apply();
    });
    prefers.addEventListener("change", apply);
    addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; Charts.recolour(); });
    addEventListener("afterprint", apply);
    apply();
  }

  function tableOf(caption, columns, rows, numbers) {
    const kinds = columns.map((name) => (numbers.has(name) ? "number" : null));
    const head = el("tr", {}, ...columns.map((name, index) => el("th", { scope: "col", class: kinds[index] }, name)));
    const body = rows.map((row) => el("tr", {}, ...row.map((text, index) => el("td", { class: kinds[index] ?? (text.length <= 32 ? "short" : null) }, text))));
    const made = el("table", {}, el("caption", caption.hidden ? { class: "unseen" } : {}, caption.text, ...(caption.about ? [el("p", { class: "about" }, caption.about)] : [])), el("thead", {}, head), el("tbody", {}, ...body));
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption.text }, made);
  }

  function block(table) {
    const made = el("div", { class: "block" });
    if (table.rows.length) {
      made.append(tableOf({ text: table.title, about: table.about }, table.columns, table.rows, new Set(table.numbers)));
    } else made.append(el("h3", {}, table.title), el("p", { class: "empty" }, table.empty));
    return made;
  }

  function summary(chart, data) {
    const values = data.slice(1).flat().filter((value) => value !== undefined && value !== null);
    const text = (value) => Charts.figureText(value, chart.unit);
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    return `${chart.title}. From ${text(low)} to ${text(high)}. Arrow keys read the values.`;
  }

  function figure(chart, alone) {
    const unit = chart.unit && chart.unit !== "units" && !["bytes", "s"].includes(chart.unit) ? `, ${chart.unit}` : "";
    const caption = el("figcaption", {},
      el("h3", { id: `title-${chart.id}` }, chart.title, el("span", { class: "unit" }, unit)));
    if (!chart.small || chart.empty || alone) caption.append(el("p", { class: "about" }, chart.about));
    const made = el("figure", { id: `chart-${chart.id}` }, caption);
    if (!chart.series.length) made.append(el("p", { class: "empty" }, chart.empty || "There is nothing to draw."));
    return made;
  }

  function fill(made, chart) {
    if (!chart.series.length) return;
    const plot = el("div", { class: "plot", tabindex: "0", role: "application", "aria-roledescription": "chart" });
    made.append(plot);
    const entry = Charts.draw(chart, plot, report.moments);
    plot.setAttribute("aria-label", summary(chart, entry.data));
    const legend = Charts.legend(entry);
    if (legend) plot.before(legend);
    const details = el("details", {}, el("summary", {}, "The same figures as a table"));
    details.addEventListener("toggle", () => {
      if (!details.open || details.children.length > 1) return;
      const [columns, rows] = Charts.table(chart, entry.data);
      details.append(tableOf({ text: chart.title, hidden: true }, columns, rows, new Set(columns.slice(1))));
    });
    made.append(details);
  }

  function section(one) {
    const made = el("section", { id: one.id, "aria-labelledby": `heading-${one.id}` },
      el("h2", { id: `heading-${one.id}` }, one.title));
    const small = one.charts.length > 1 && one.charts.every((chart) => chart.small);
    if (small) made.append(el("p", { class: "help" }, one.charts[0].about));
    const figures = one.charts.map((chart) => [figure(chart, one.charts.length === 1), chart]);
    if (figures.length)
      made.append(el("div", { class: small ? "charts small" : "charts" }, ...figures.map(([host]) => host)));
    made.append(...one.tables.map(block));
    byId("sections").append(made);
    byId("contents").append(el("a", { href: `#${one.id}` }, one.title));
    for (const [host, chart] of figures) fill(host, chart);   // now that they have a width
  }

  document.title = `${report.name}: store report`;
  byId("name").textContent = report.name;
  byId("notes").append(...report.notes.map((text) => el("p", { class: "note", role: "note" }, text)));
  byId("facts").append(...report.facts.map((fact) => el("div", {},
    el("dt", {}, fact.name), el("dd", { class: fact.value.length > 13 ? "value long" : "value" }, fact.value),
    ...(fact.note ? [el("dd", { class: `aside ${fact.tone}` }, fact.note)] : []))));
  byId("about").append(...report.about.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
  Charts.begin(report.sections.flatMap((one) => one.charts));
  report.sections.forEach(section);
  Charts.showEverything();
  themes();
  document.documentElement.dataset.ready = "yes";
})();
