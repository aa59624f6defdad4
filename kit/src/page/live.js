// Keeps a page as things are: replaces the sections of <main> that have changed. See kit/src/page/mod.rs.
"use strict";
(() => {
  const body = document.body;
  const freshness = document.getElementById("freshness");
  const STALE_MS = 5000;
  let heard = Date.now();

  // "2 h 14 min", as coarse as it is long.
  const ago = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  };
  const count = (root) => {
    for (const time of root.querySelectorAll("time[data-since], time[data-ago]")) {
      const at = Number(time.dataset.since ?? time.dataset.ago);
      const text = time.dataset.since ? `for ${ago(Date.now() - at)}` : `${ago(Date.now() - at)} ago`;
      if (time.textContent !== text) time.textContent = text;
      if (!time.title) time.title = new Date(at).toISOString();
    }
  };

  // What can have the focus, and where in its list a reader is, outlive the section they are in.
  const replace = (old, next) => {
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    const scrolled = [...old.querySelectorAll(".scroll, .events")].map((e) => [e.scrollLeft, e.scrollTop]);
    old.replaceWith(next);
    next.querySelectorAll(".scroll, .events").forEach((e, i) => {
      if (scrolled[i]) [e.scrollLeft, e.scrollTop] = scrolled[i];
    });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    count(next);
    document.dispatchEvent(new CustomEvent("section", { detail: next.id }));
  };
  const show = (html) => {
    const parsed = new DOMParser().parseFromString(html, "text/html");
    for (const next of [...parsed.body.children]) {
      const old = next.id && document.getElementById(next.id);
      if (old) replace(old, document.importNode(next, true));
    }
  };
  const fresh = () => {
    heard = Date.now();
  };
  const stamp = () => {
    const stale = Date.now() - heard > STALE_MS;
    const text = stale
      ? `No contact for ${ago(Date.now() - heard)}: this is how things were`
      : `live · ${new Date(heard).toLocaleTimeString()}`;
    freshness.classList.toggle("stale", stale);
    // A screen reader is told of a change of state, not of each second.
    freshness.setAttribute("aria-live", stale ? "assertive" : "off");
    if (freshness.textContent !== text) freshness.textContent = text;
  };

  const poll = async (seconds) => {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      try {
        const answer = await fetch(location.pathname, { headers: window.authorization?.() ?? {}, cache: "no-store" });
        if (!answer.ok) continue;
        const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const next of [...parsed.querySelectorAll("#main > [id], .top > [id]:not(#freshness)")]) {
          const old = document.getElementById(next.id);
          if (old && old.outerHTML !== next.outerHTML) replace(old, document.importNode(next, true));
        }
        fresh();
      } catch {
        // The stamp says that there is no contact.
      }
    }
  };

  // Server-sent events by hand: an EventSource cannot send a token.
  const stream = async (path) => {
    for (let wait = 500; ; wait = Math.min(wait * 2, 5000)) {
      try {
        const answer = await fetch(path, { headers: window.authorization?.() ?? {}, cache: "no-store" });
        document.dispatchEvent(new CustomEvent("stream", { detail: answer.status }));
        if (answer.ok) {
          const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
          let text = "";
          for (;;) {
            const { done, value } = await reader.read();
            if (done) break;
            fresh();
            wait = 250;
            text += value;
            let end;
            while ((end = text.indexOf("\n\n")) >= 0) {
              const lines = text.slice(0, end).split("\n");
              text = text.slice(end + 2);
              const data = lines.filter((l) => l.startsWith("data:")).map((l) => l.slice(5).replace(/^ /, ""));
              if (data.length) show(data.join("\n"));
            }
          }
        }
      } catch {
        // The stamp says that there is no contact.
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  };

  count(document);
  setInterval(() => {
    count(document);
    stamp();
  }, 1000);
  if (body.dataset.poll) poll(Number(body.dataset.poll));
  if (body.dataset.stream) stream(body.dataset.stream);
})();
