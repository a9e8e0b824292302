"use strict";
// Draws the page's charts from the data embedded in it, and links charts, tables and toggles. No network.
(() => {
  const page = JSON.parse(document.getElementById("secateur-data").textContent);
  const state = page.studies.map(() => ({ hidden: new Set(), logarithmic: true, views: new Map(), picks: {} }));
  const errors = [];
  const status = document.getElementById("status");

  // a column of repeated texts stands as its distinct values and their codes
  const unpacked = (columns) => Object.fromEntries(Object.entries(columns).map(([name, column]) =>
    [name, Array.isArray(column) ? column : column.codes.map((code) => column.values[code])]));
  for (const study of page.studies) {
    for (const group of [study.datasets, study.tables]) for (const name of Object.keys(group)) group[name] = unpacked(group[name]);
  }

  const rowsOf = (columns) => {
    const names = Object.keys(columns);
    if (!names.length) return [];
    return columns[names[0]].map((_, index) => Object.fromEntries(names.map((name) => [name, columns[name][index]])));
  };

  const datasetsIn = (node, found = new Set()) => {
    if (Array.isArray(node)) node.forEach((child) => datasetsIn(child, found));
    else if (node && typeof node === "object") {
      if (node.data && node.data.name) found.add(node.data.name);
      Object.values(node).forEach((child) => datasetsIn(child, found));
    }
    return found;
  };

  // the axis of remaining weights, logarithmic or linear
  const withScale = (node, logarithmic) => {
    if (Array.isArray(node)) return node.map((child) => withScale(child, logarithmic));
    if (!node || typeof node !== "object") return node;
    const copy = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, withScale(value, logarithmic)]));
    if ((copy.field === "kept" || copy.field === "place") && copy.scale && !logarithmic) {
      copy.scale = { ...copy.scale, type: "linear" };
      copy.axis = { title: "weights left (%)", format: "~g" };
    }
    return copy;
  };

  async function draw(figure) {
    const index = Number(figure.dataset.study);
    const study = page.studies[index];
    const mine = state[index];
    const name = figure.dataset.chart;
    const spec = withScale(study.charts[name], mine.logarithmic);
    spec.datasets = {};
    for (const data of datasetsIn(spec)) spec.datasets[data] = rowsOf(study.datasets[data] || {});
    for (const param of spec.params || []) {
      if (param.name === "hidden") param.value = [...mine.hidden];
      else if (figure.dataset.series) param.value = figure.dataset.series;
    }
    const before = mine.views.get(figure);
    if (before) before.finalize();
    const plot = figure.querySelector(".plot");
    try {
      const result = await vegaEmbed(plot, spec, {
        mode: "vega-lite", renderer: "svg", actions: false, ast: true, config: page.config,
        logLevel: 1, // a chart without rows yet is no mistake
        tooltip: { theme: "custom", disableDefaultStyle: true },
      });
      result.hides = (spec.params || []).some((param) => param.name === "hidden");
      mine.views.set(figure, result);
      figure.dataset.drawn = "true";
    } catch (error) {
      errors.push(`${name}: ${error.message}`);
      plot.textContent = `This chart could not be drawn (${error.message}). Its numbers are in the table below.`;
    }
  }

  function toggle(index, series) {
    const mine = state[index];
    if (!mine.hidden.delete(series)) mine.hidden.add(series);
    const article = document.querySelector(`article[data-study="${index}"]`);
    article.querySelectorAll(`.key button[data-series]`).forEach((button) => {
      button.setAttribute("aria-pressed", String(!mine.hidden.has(button.dataset.series)));
    });
    article.querySelectorAll("tr[data-series]").forEach((row) => { row.hidden = mine.hidden.has(row.dataset.series); });
    for (const result of mine.views.values()) {
      if (!result.hides) continue;
      try { result.view.signal("hidden", [...mine.hidden]).run(); } catch (error) { errors.push(error.message); }
    }
    status.textContent = `${series} ${mine.hidden.has(series) ? "hidden" : "shown"}`;
  }

  const cell = (value) => {
    if (value === null || value === undefined) return "";
    const text = String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = (columns) => {
    const names = Object.keys(columns);
    const lines = [names.map(cell).join(",")];
    const count = names.length ? columns[names[0]].length : 0;
    for (let row = 0; row < count; row += 1) lines.push(names.map((name) => cell(columns[name][row])).join(","));
    return lines.join("\n") + "\n";
  };

  function save(name, text, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function download(button) {
    const study = page.studies[Number(button.dataset.study)];
    const what = button.dataset.download;
    if (what === "verdict") save(`${study.name}-verdict.json`, JSON.stringify(study.verdict, null, 2) + "\n", "application/json");
    else save(`${study.name}-${what}.csv`, csv(study.tables[what]), "text/csv");
  }

  async function saveChart(figure) {
    const index = Number(figure.dataset.study);
    const result = state[index].views.get(figure);
    if (!result) return;
    const style = getComputedStyle(document.documentElement);
    const svg = (await result.view.toSVG()).replace(/var\(--([a-z0-9-]+)\)/g, (_, name) => style.getPropertyValue(`--${name}`).trim());
    save(`${page.studies[index].name}-${figure.dataset.chart.replace(/[^a-z0-9]+/g, "-")}.svg`, svg, "image/svg+xml");
  }

  // a table of a chart's data is built when it is first opened
  function fill(details) {
    const holder = details.querySelector("[data-table]");
    if (!holder || holder.firstChild) return;
    const columns = page.studies[Number(holder.dataset.study)].tables[holder.dataset.table];
    const names = Object.keys(columns);
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const name of names) {
      const th = document.createElement("th");
      th.scope = "col";
      th.textContent = name;
      head.append(th);
    }
    const body = table.createTBody();
    (columns[names[0]] || []).forEach((_, row) => {
      const line = body.insertRow();
      for (const name of names) {
        const value = columns[name][row];
        line.insertCell().textContent = typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(6)) : (value ?? "\u2013");
      }
    });
    holder.append(table);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.series) toggle(Number(button.dataset.study), button.dataset.series);
    else if (button.dataset.download) download(button);
    else if (button.dataset.save !== undefined) saveChart(button.closest("figure"));
    else if (button.id === "theme") {
      const root = document.documentElement;
      const dark = getComputedStyle(root).colorScheme.includes("dark");
      root.dataset.theme = dark ? "light" : "dark";
    }
  });
  document.addEventListener("change", (event) => {
    const control = event.target;
    const article = control.closest("article");
    if (!article) return;
    const index = Number(article.dataset.study);
    if (control.matches("[data-scale]")) {
      state[index].logarithmic = control.checked;
      article.querySelectorAll("[data-scale]").forEach((other) => { other.checked = control.checked; });
      article.querySelectorAll("figure[data-kept]").forEach(draw);
    } else if (control.dataset.pick) {
      const figure = document.getElementById(control.getAttribute("aria-controls"));
      figure.dataset[control.dataset.pick] = control.value;
      draw(figure);
    }
  });
  document.querySelectorAll("details").forEach((details) => details.addEventListener("toggle", () => { if (details.open) fill(details); }));

  // what is on the first screen is drawn at once, the rest when the browser has time
  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const whenIdle = window.requestIdleCallback || ((run) => setTimeout(run, 1));
  const ready = (async () => {
    for (const figure of figures) {
      if (figure.getBoundingClientRect().top > window.innerHeight) await new Promise((resolve) => { whenIdle(resolve, { timeout: 300 }); });
      await draw(figure);
    }
    document.documentElement.dataset.drawn = "true";
  })();
  // a live page: when the study has news, load it anew with the reader's choices kept
  const poll = Number(document.documentElement.dataset.poll || 0);
  if (poll) {
    const kept = JSON.parse(sessionStorage.getItem("secateur-choices") || "null");
    if (kept) {
      if (kept.theme) document.documentElement.dataset.theme = kept.theme;
      ready.then(() => kept.hidden.forEach((names, index) => names.forEach((name) => { if (state[index]) toggle(index, name); })));
    }
    let version = null;
    setInterval(async () => {
      try {
        const now = await (await fetch("version", { cache: "no-store" })).text();
        if (version !== null && now !== version) {
          const choices = { theme: document.documentElement.dataset.theme, hidden: state.map((one) => [...one.hidden]) };
          sessionStorage.setItem("secateur-choices", JSON.stringify(choices));
          location.reload();
        }
        version = now;
      } catch {
        status.textContent = "The study's server does not answer; this page shows what it last knew.";
      }
    }, poll * 1000);
  }

  window.secateur = { page, state, errors, ready, csv };
})();
