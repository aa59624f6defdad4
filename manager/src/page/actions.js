// What a person can have done: asked once more before it is, with their token where the manager wants one.
"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const dialog = get("confirm");
  const KEY = "holdfast-token";
  const token = () => sessionStorage.getItem(KEY) ?? "";
  window.authorization = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

  // What each button asks, and then sends.
  const ACTIONS = {
    replace: (b) => ({
      title: `Replace ${b.dataset.machine}?`,
      text: "It is drained, stopped, and built anew at the same address. A balancer hands its VIPs over first.",
      send: () => ["POST", `/vms/${encodeURIComponent(b.dataset.machine)}/replace`],
    }),
    drain: (b) => ({
      title: `Drain ${b.dataset.machine}?`,
      text: "Balancers send it nothing new. What it was sent it ends, and it lives on until that is taken back.",
      send: () => ["PUT", `/vms/${encodeURIComponent(b.dataset.machine)}/drain`, { on: true }],
    }),
    undrain: (b) => ({
      title: `Undrain ${b.dataset.machine}?`,
      text: "Balancers send it requests again.",
      send: () => ["PUT", `/vms/${encodeURIComponent(b.dataset.machine)}/drain`, { on: false }],
    }),
    delete: (b) => ({
      title: `Delete ${b.dataset.machine}?`,
      text: "It is drained and removed, and the host has one machine less of its service from then on.",
      send: () => ["DELETE", `/vms/${encodeURIComponent(b.dataset.machine)}`],
    }),
    create: (b) => ({
      title: "Add a machine",
      text: "This host gets one more machine of the service, with the next free address.",
      choice: ["Service", b.dataset.choices.split(" ")],
      send: (choice) => ["POST", "/vms", { service: choice }],
    }),
    switchover: (b) => ({
      title: "Move the VIPs",
      text: "The balancer that holds them hands them over without failing a request.",
      choice: ["To host", b.dataset.choices.split(" ")],
      send: (choice) => ["POST", "/switchover", { to: choice }],
    }),
    token: () => ({
      title: "Your token",
      text: "It is kept until this tab is closed. A manager takes tokens over HTTPS only.",
      send: null,
    }),
  };

  let asked = null;
  const ask = (action) => {
    asked = action;
    get("confirm-title").textContent = action.title;
    get("confirm-text").textContent = action.text;
    get("confirm-error").textContent = "";
    get("confirm-choice-label").hidden = !action.choice;
    if (action.choice) {
      get("confirm-choice-name").textContent = action.choice[0];
      get("confirm-choice").replaceChildren(...action.choice[1].map((name) => new Option(name, name)));
    }
    get("confirm-token").value = token();
    get("confirm-token-label").hidden = action.readonly === true;
    get("confirm-yes").hidden = action.readonly === true;
    get("confirm-no").textContent = action.readonly ? "Close" : "Cancel";
    dialog.showModal();
  };

  const problem = async (answer) => {
    const told = await answer.json().catch(() => ({}));
    return told.detail ?? told.title ?? `${answer.status} ${answer.statusText}`;
  };

  const done = async () => {
    const secret = get("confirm-token").value.trim();
    if (secret) sessionStorage.setItem(KEY, secret);
    else sessionStorage.removeItem(KEY);
    if (!asked.send) {
      // The page is asked for again, now with the token.
      location.reload();
      return;
    }
    const yes = get("confirm-yes");
    yes.disabled = true;
    try {
      const [method, path, body] = asked.send(get("confirm-choice").value);
      const headers = { ...window.authorization() };
      if (body) headers["Content-Type"] = "application/json";
      const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
      if (answer.ok) dialog.close();
      else get("confirm-error").textContent = await problem(answer);
    } catch (error) {
      get("confirm-error").textContent = `The manager was not reached: ${error.message}`;
    } finally {
      yes.disabled = false;
    }
  };

  const logs = async (machine) => {
    ask({ title: `Console of ${machine}`, text: "…", readonly: true });
    try {
      const answer = await fetch(`/vms/${encodeURIComponent(machine)}/logs`, { headers: window.authorization() });
      get("confirm-text").textContent = answer.ok ? await answer.text() : await problem(answer);
    } catch (error) {
      get("confirm-text").textContent = `The manager was not reached: ${error.message}`;
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-do]");
    if (!button) return;
    if (button.dataset.do === "logs") logs(button.dataset.machine);
    else ask(ACTIONS[button.dataset.do](button));
  });
  get("confirm-yes").addEventListener("click", done);
  get("confirm-no").addEventListener("click", () => dialog.close());
  // Enter in the token's field means the same as the button.
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!get("confirm-yes").hidden) done();
  });
  // Another manager's page is where this one is reached: by the same scheme and port.
  const link = () => {
    for (const a of document.querySelectorAll("a[data-peer]")) {
      a.href = `${location.protocol}//${a.dataset.peer}:${location.port || (location.protocol === "https:" ? 443 : 80)}/`;
    }
  };
  document.addEventListener("section", link);
  link();
})();
