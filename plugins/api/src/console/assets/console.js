// as2hook console. The server writes every page; this adds the viewer's zone, and liveness.
// Nothing here is needed to read a page or to act.
"use strict";
(() => {
  const DAY = 86400000;
  const two = (n) => String(n).padStart(2, "0");
  const lang = "en-GB";

  // === times, in the viewer's zone and in the forms that the server uses ===

  function shown(at, form) {
    const now = new Date();
    const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
    const exact = `${clock}:${two(at.getSeconds())}`;
    if (form === "clock") return clock;
    if (at.toDateString() === now.toDateString()) return exact;
    const age = now - at;
    if (age >= 0 && age < 6 * DAY) return `${at.toLocaleDateString(lang, { weekday: "short" })} ${exact}`;
    const month = at.toLocaleDateString(lang, { month: "short" });
    if (at.getFullYear() === now.getFullYear()) return `${at.getDate()} ${month} ${clock}`;
    return `${at.getDate()} ${month} ${at.getFullYear()}`;
  }

  function localize(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.getTime())) {
        time.textContent = shown(at, time.dataset.form);
        time.title = at.toLocaleString(lang, { timeZoneName: "short" });
      }
    }
  }

  function nameZone() {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "your zone";
    const parts = new Intl.DateTimeFormat(lang, { timeZoneName: "longOffset" }).formatToParts(new Date());
    const offset = (parts.find((part) => part.type === "timeZoneName") || {}).value || "";
    for (const place of document.querySelectorAll("[data-zone]")) {
      place.textContent = offset ? `${zone} (${offset.replace("GMT", "UTC")})` : zone;
    }
  }

  // A form's field in local time goes to the server as RFC 3339.
  function sendUtc() {
    document.addEventListener("submit", (event) => {
      for (const field of event.target.querySelectorAll("input[data-utc]")) {
        const at = new Date(field.value);
        if (field.value && !Number.isNaN(at.getTime())) {
          field.type = "text";
          field.value = at.toISOString().slice(0, 19) + "Z";
        }
      }
    });
    for (const label of document.querySelectorAll("[data-utc-label]")) label.remove();
    for (const field of document.querySelectorAll("input[data-utc]")) {
      const at = new Date(field.dataset.utc || field.getAttribute("value"));
      if (!Number.isNaN(at.getTime())) {
        const local = new Date(at - at.getTimezoneOffset() * 60000);
        field.value = local.toISOString().slice(0, 16);
      }
    }
  }

  // === the stream ===

  const table = document.querySelector("table[data-live=exchanges]");
  const state = document.querySelector("[data-live-state]");
  const fresh = document.querySelector("[data-new-rows]");
  const first = document.querySelector("[data-first-row]");
  const isWatched = table || fresh || first || document.querySelector("[data-live], [data-webhook]");
  const waiting = new Map();
  const ROWS = 12;
  let source = null;
  let failures = 0;

  function say(tone, word, more) {
    if (!state) return;
    const mark = document.createElement("span");
    mark.className = `mark ${tone}`;
    mark.textContent = word;
    state.replaceChildren(mark, more ? ` · ${more}` : "");
    state.hidden = false;
  }

  function parsed(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    localize(template.content);
    return template.content;
  }

  const isHeld = () => table && (table.matches(":hover") || table.contains(document.activeElement));

  function place(row) {
    const body = table.tBodies[0];
    const old = body.querySelector(`tr[data-id="${CSS.escape(row.dataset.id)}"]`);
    if (old) {
      row.classList.remove("new");
      old.replaceWith(row);
    } else {
      body.prepend(row);
      while (body.rows.length > ROWS) body.lastElementChild.remove();
    }
  }

  function release() {
    if (!waiting.size || isHeld()) return;
    for (const row of waiting.values()) place(row);
    waiting.clear();
    say("ok", "Live", "stands still while you point at it");
  }

  const counted = new Set();
  const loaded = new Date();

  function count(row) {
    const time = row.querySelector("time[datetime]");
    if (!fresh || !time || new Date(time.dateTime) < loaded) return;
    counted.add(row.dataset.id);
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "Show them";
    fresh.replaceChildren(`${counted.size} new since you opened this page. `, link);
  }

  function onRow(event) {
    const row = parsed(event.data).querySelector("tr");
    if (!row) return;
    // The page said what to do first: it is another page now.
    if (first) location.reload();
    count(row);
    if (!table) return;
    const isKnown = table.querySelector(`tr[data-id="${CSS.escape(row.dataset.id)}"]`);
    if (isHeld() && !isKnown) {
      waiting.set(row.dataset.id, row);
      say("wait", "Paused", `${waiting.size} new`);
    } else if (!(isHeld() && isKnown && isKnown.contains(document.activeElement))) {
      place(row);
    }
  }

  function fill(event) {
    for (const target of document.querySelectorAll(`[data-live="${event.type}"]`)) {
      target.replaceChildren(parsed(event.data));
    }
  }

  // The list below it has forms, which only the page itself has: it is not replaced.
  function onHeading(event) {
    const heading = document.querySelector("[data-live=heading]");
    const now = parsed(event.data).textContent;
    if (!heading || heading.textContent === now) return;
    heading.textContent = now;
    const changed = document.querySelector("[data-live-changed]");
    if (changed) changed.hidden = false;
  }

  function onWebhook(event) {
    const now = parsed(event.data).querySelector("[data-webhook]");
    if (!now) return;
    for (const old of document.querySelectorAll("[data-webhook]")) {
      if (old.dataset.webhook === now.dataset.webhook) old.replaceChildren(...now.cloneNode(true).childNodes);
    }
  }

  // === one exchange ===

  const exchange = document.querySelector("[data-exchange]");
  const keyOf = (details) => {
    const within = details.closest("article, .steps > li, .note");
    const name = within && (within.id || within.querySelector("h3").textContent);
    return `${name}|${details.querySelector("summary").textContent}`;
  };

  // Someone is about to press something, or marks text: the page stands still, and offers the change.
  function isBusy() {
    const selection = document.getSelection();
    return exchange.querySelector(":popover-open, form:hover, form:focus-within, details :focus") ||
      (!selection.isCollapsed && exchange.contains(selection.anchorNode));
  }

  async function onExchange(event) {
    if (event.data === exchange.dataset.state) return;
    const changed = exchange.querySelector("[data-live-changed]");
    if (isBusy()) {
      changed.hidden = false;
      return;
    }
    exchange.dataset.state = event.data;
    const reply = await fetch(location.pathname, { redirect: "manual" }).catch(() => null);
    if (!reply || !reply.ok) {
      changed.hidden = false;
      return;
    }
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const now = page.querySelector("[data-exchange]");
    if (!now) return;
    exchange.dataset.state = now.dataset.state;
    localize(now);
    const opened = new Set([...exchange.querySelectorAll("details[open]")].map(keyOf));
    for (const details of now.querySelectorAll("details")) details.open = opened.has(keyOf(details));
    for (const part of exchange.querySelectorAll("[data-live]")) {
      const other = now.querySelector(`[data-live="${part.dataset.live}"]`);
      if (other && other.textContent !== part.textContent) part.replaceChildren(...other.childNodes);
    }
    changed.hidden = true;
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  function stopped() {
    close();
    say("off", `Stopped at ${shown(new Date(), "clock")}`, "");
    if (!state) return;
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "Reload";
    state.append(" · ", link);
  }

  function open() {
    if (source || document.hidden) return;
    const query = exchange ? `?exchange=${encodeURIComponent(exchange.dataset.exchange)}` : "";
    source = new EventSource(`/console/live${query}`);
    source.onopen = () => {
      failures = 0;
      say("ok", "Live", table ? "stands still while you point at it" : "");
    };
    source.onerror = () => {
      failures += 1;
      // Closed by the browser: what came is no stream, since the session has ended.
      if (source && source.readyState === EventSource.CLOSED || failures > 20) stopped();
      else say("wait", "Reconnecting", "");
    };
    source.addEventListener("row", onRow);
    source.addEventListener("webhook", onWebhook);
    source.addEventListener("heading", onHeading);
    source.addEventListener("figures", fill);
    source.addEventListener("route", fill);
    if (exchange) source.addEventListener("exchange", onExchange);
  }

  localize(document);
  nameZone();
  sendUtc();
  if (isWatched && "EventSource" in window) {
    open();
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
    window.addEventListener("pagehide", close);
    window.addEventListener("pageshow", (event) => event.persisted && open());
    if (table) {
      table.addEventListener("mouseleave", release);
      table.addEventListener("focusout", () => setTimeout(release, 0));
    }
  }
})();
