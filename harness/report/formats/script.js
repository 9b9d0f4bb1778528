"use strict";
(() => {
  const SMALLEST_FILTERED = 4;
  const THEMES = ["auto", "light", "dark"];
  const KEY = "harness-report-theme";

  const element = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  // The first number of a cell, of "<0.001" too; cells without one come last, whichever way the column is sorted.
  const numberOf = (text) => {
    const found = text.replaceAll(",", "").match(/^<?([+-]?\d+(\.\d+)?(e[+-]?\d+)?)/i);
    return found ? Number(found[1]) : null;
  };

  const compare = (first, second, isNumber) => {
    if (!isNumber) return first.localeCompare(second, "en", { numeric: true });
    return numberOf(first) - numberOf(second);
  };

  const sortBy = (table, heading, index) => {
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    const isNumber = heading.classList.contains("number");
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const text = (row) => row.cells[index].textContent.trim();
    const isMissing = (row) => (isNumber ? numberOf(text(row)) === null : text(row) === "-");
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => {
      if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
      return (ascending ? 1 : -1) * compare(text(a), text(b), isNumber);
    });
    body.append(...rows);
  };

  const filterBy = (table, words, count) => {
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} rows`;
  };

  const makeTable = (table) => {
    [...table.tHead.rows[0].cells].forEach((heading, index) => {
      const button = element("button", { type: "button", title: "Sort" }, ...heading.childNodes);
      button.addEventListener("click", () => sortBy(table, heading, index));
      heading.append(button);
    });
    const titles = [...table.tHead.rows[0].cells].map((heading) => heading.textContent.trim());
    for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, index) => (cell.dataset.title = titles[index]));
    table.classList.add("titled");
    if (table.tBodies[0].rows.length < SMALLEST_FILTERED) return;
    const count = element("span", {});
    count.setAttribute("aria-live", "polite");
    const input = element("input", { type: "search", placeholder: "Filter rows" });
    input.setAttribute("aria-label", `Filter rows of ${table.caption.textContent}`);
    input.addEventListener("input", () =>
      filterBy(table, input.value.toLowerCase().split(/\s+/).filter(Boolean), count),
    );
    table.closest(".table").prepend(element("div", { className: "tools" }, input, count));
  };

  const makeFamily = (family) => {
    const tabs = [...family.querySelectorAll(":scope > .tab")];
    const bar = element("div", { className: "tabs" });
    bar.setAttribute("role", "tablist");
    const show = (chosen) => {
      tabs.forEach((tab, index) => {
        tab.hidden = tab !== chosen;
        bar.children[index].setAttribute("aria-selected", String(tab === chosen));
      });
    };
    for (const tab of tabs) {
      tab.setAttribute("role", "tabpanel");
      const button = element("button", { type: "button", textContent: tab.dataset.tab });
      button.setAttribute("role", "tab");
      button.addEventListener("click", () => show(tab));
      bar.append(button);
    }
    family.prepend(bar);
    show(tabs[0]);
  };

  const remembered = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };

  const remember = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // A page opened from a file may keep nothing.
    }
  };

  const makeThemeSwitch = () => {
    const button = element("button", { type: "button", id: "theme" });
    const apply = (theme) => {
      if (theme === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = theme;
      button.textContent = `Theme: ${theme}`;
      button.dataset.theme = theme;
    };
    button.addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(button.dataset.theme) + 1) % THEMES.length];
      apply(next);
      remember(next);
    });
    apply(THEMES.includes(remembered()) ? remembered() : "auto");
    document.querySelector("header").append(button);
  };

  document.querySelectorAll(".table table").forEach(makeTable);
  document.querySelectorAll(".family").forEach(makeFamily);
  makeThemeSwitch();
})();
