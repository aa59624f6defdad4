// A cursor on the time lines, by pointer and by arrow keys, and what the buckets under it say. All else is there without.
"use strict";
(() => {
  const source = document.getElementById("report");
  const lines = document.getElementById("lines");
  const moment = document.getElementById("moment");
  const report = JSON.parse(source.textContent);

  const save = document.getElementById("save");
  const link = document.createElement("a");
  link.textContent = "Save the report as JSON";
  link.download = "report.json";
  link.href = "data:application/json;charset=utf-8," + encodeURIComponent(source.textContent);
  save.replaceChildren(link, ": loadtest report and loadtest compare read it.");

  const { bucket_ms: width, buckets } = report.timeline;
  if (!lines || buckets.length === 0) return;
  const plots = [...lines.querySelectorAll(".plot")];
  const cursors = plots.map((plot) => {
    const cursor = document.createElement("div");
    cursor.className = "cursor";
    cursor.hidden = true;
    plot.append(cursor);
    return cursor;
  });
  let index = 0;

  const ms = (value) => (value === null ? "–" : `${value.toFixed(value < 10 ? 2 : 1)} ms`);
  const show = (next) => {
    index = Math.max(0, Math.min(buckets.length - 1, next));
    const bucket = buckets[index];
    const failed = Object.entries(bucket.failed).map(([kind, count]) => `${kind} ${count}`);
    const faults = report.faults.flatMap((fault, number) => {
      const end = fault.recovered_after_ms === null ? Infinity : fault.at_ms + fault.recovered_after_ms;
      return fault.at_ms < bucket.at_ms + width && end > bucket.at_ms ? [`fault ${number + 1}`] : [];
    });
    moment.textContent = [
      `${(bucket.at_ms / 1000).toFixed(1)} s: ${bucket.succeeded} succeeded`,
      failed.length ? `failed: ${failed.join(", ")}` : "none failed",
      `p50 ${ms(bucket.p50_ms)}`, `p99 ${ms(bucket.p99_ms)}`, `max ${ms(bucket.max_ms)}`, ...faults,
    ].join(" · ");
    for (const cursor of cursors) {
      cursor.hidden = false;
      cursor.style.left = `${((index + 0.5) / buckets.length) * 100}%`;
    }
  };

  for (const plot of plots) {
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      show(Math.floor(((event.clientX - box.left) / box.width) * buckets.length));
    });
  }
  lines.tabIndex = 0;
  lines.setAttribute("aria-label", "Along the run; arrow keys move along it");
  moment.textContent = "Point at a chart, or use the arrow keys, to read a moment.";
  lines.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -buckets.length, End: buckets.length };
    if (event.target !== lines || !(event.key in steps)) return;
    event.preventDefault();
    show(index + steps[event.key]);
  });
})();
