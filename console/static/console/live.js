// Live traffic: draws what the WebSocket tells once a second. All text goes in as text, never as markup.
(() => {
  const root = document.getElementById("live");
  const find = (selector) => root.querySelector(selector);
  const SPAN = 300;
  const MOST_ROWS = 60;
  const points = [];
  let rows = [];
  let held = false;
  let socket = null;
  let wait = 1;

  const kind = find("[name=kind]");
  const drain = find("[data-drain]");
  const offer = () => {
    const on = kind.value === "drain";
    drain.hidden = !on;
    // What is hidden is not sent.
    drain.querySelector("select").disabled = !on;
  };
  if (kind) {
    kind.addEventListener("change", offer);
    offer();
  }

  const ms = (value) => (value === null ? "–" : value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${Math.round(value)} ms`);
  const cell = (text) => {
    const made = document.createElement("td");
    made.textContent = text;
    return made;
  };
  const fill = (name, made, empty) => {
    const place = find(`[data-rows="${name}"]`);
    if (!place) return;
    if (!made.length && empty) {
      const line = document.createElement("li");
      line.textContent = empty;
      made = [line];
    }
    place.replaceChildren(...made);
  };

  function line(chart, values, color, top) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "path");
    let path = "";
    let open = false;
    values.forEach((value, at) => {
      if (value === null) {
        open = false;
        return;
      }
      path += `${open ? "L" : "M"}${at},${(78 - (76 * value) / top).toFixed(1)}`;
      // A moment alone is a dot.
      if (!open) path += "h0.8";
      open = true;
    });
    made.setAttribute("d", path);
    made.setAttribute("fill", "none");
    made.setAttribute("stroke", color);
    made.setAttribute("stroke-width", "1.5");
    made.setAttribute("vector-effect", "non-scaling-stroke");
    chart.append(made);
  }

  function draw() {
    const now = Date.now() / 1000;
    const at = new Array(SPAN).fill(null);
    while (points.length && points[0].at < now - SPAN) points.shift();
    for (const point of points) at[Math.min(SPAN - 1, Math.max(0, SPAN - 1 - Math.round(now - point.at)))] = point;
    const first = points.length ? Math.max(0, SPAN - 1 - Math.round(now - points[0].at)) : SPAN;
    const rates = at.map((point, place) => (point ? point.ok + point.failed : place < first ? null : 0));
    const failed = at.map((point, place) => (point ? point.failed : place < first ? null : 0));
    const rate = find('[data-chart="rate"]');
    const most = Math.max(1, ...rates);
    rate.replaceChildren();
    line(rate, rates, "#2563eb", most);
    line(rate, failed, "#dc2626", most);
    find('[data-now="rate"]').textContent = `at most ${most}`;
    const latency = find('[data-chart="latency"]');
    const of = (name) => at.map((point) => (point ? point[name] : null));
    const top = Math.max(1, ...of("p95"));
    latency.replaceChildren();
    line(latency, of("first"), "#059669", top);
    line(latency, of("p50"), "#2563eb", top);
    line(latency, of("p95"), "#7c3aed", top);
    find('[data-now="latency"]').textContent = `at most ${ms(top)}`;
  }

  function request(row) {
    const made = document.createElement("tr");
    const link = document.createElement("a");
    link.href = `${root.dataset.request}?q=${encodeURIComponent(row.request_id)}`;
    link.textContent = new Date(row.at * 1000).toLocaleTimeString();
    link.className = "text-primary-600";
    const when = document.createElement("td");
    when.append(link);
    const went = row.cache === "hit" ? "cache" : row.provider;
    const cost = row.cost === null ? "no price" : `$${(row.cost / 1e9).toFixed(6)}`;
    made.append(when, cell(row.team), cell(row.model), cell(went), cell(row.code ? `${row.status} ${row.code}` : row.status), cell(ms(row.ms)), cell(ms(row.first_ms)), cell(row.tokens), cell(cost));
    return made;
  }

  function list() {
    if (held) return;
    fill("requests", rows.map(request).reverse());
  }

  function provider(one) {
    const made = document.createElement("tr");
    const state = one.drained ? (one.in_flight ? `draining until ${one.drained}` : `drained until ${one.drained}`) : one.enabled ? "on" : "off";
    made.dataset.provider = one.name;
    made.append(cell(one.name), cell(one.in_flight), cell(one.ok + one.failed), cell(one.failed), cell(ms(one.p95)), cell(state));
    return made;
  }

  const item = (text) => {
    const made = document.createElement("li");
    made.textContent = text;
    return made;
  };

  function hear(said) {
    points.push({ at: Date.now() / 1000, ...said.point });
    rows = [...rows, ...said.requests].slice(-MOST_ROWS);
    find("[data-more]").textContent = said.more > 0 ? `${said.more} more ended in that second.` : "";
    list();
    draw();
    let status = "Connected";
    if (said.providers) {
      const gone = said.draining ? `, ${said.draining} of them on the way down` : "";
      status = `${said.open} requests open in ${said.processes} ${said.processes === 1 ? "process" : "processes"}${gone}`;
      fill("providers", said.providers.map(provider));
      fill("breakers", said.breakers.map((one) => item(`${one.provider}, ${one.model || "every model"}: ${one.state.replace("_", " ")}${one.seconds ? `, asked again in ${Math.ceil(one.seconds)} s` : ""} (${one.processes} of ${said.processes} processes)`)), "All are closed.");
      fill("waiting", said.waiting.map(([route, count]) => item(`${route}: ${count}`)), "None waits.");
    }
    find("[data-status]").textContent = said.alone ? `${status}. Only this process can be heard: the others' figures are missing.` : `${status}.`;
  }

  function connect() {
    const address = new URL(root.dataset.socket, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    socket = new WebSocket(address);
    socket.onmessage = (message) => {
      wait = 1;
      hear(JSON.parse(message.data));
    };
    socket.onclose = (event) => {
      if (event.code === 4401) {
        find("[data-status]").textContent = "You are logged out, or may not watch any more.";
        return;
      }
      find("[data-status]").textContent = "Not connected; trying again…";
      setTimeout(connect, wait * 1000);
      wait = Math.min(30, wait * 2);
    };
  }

  find("[data-pause]").addEventListener("click", (event) => {
    held = !held;
    event.target.setAttribute("aria-pressed", held);
    event.target.textContent = held ? "Go on" : "Hold still";
    list();
  });

  const past = JSON.parse(document.getElementById("history").textContent);
  const opened = Date.now() / 1000;
  for (const { ago, ...point } of past.points) if (ago < SPAN) points.push({ at: opened - ago, ...point });
  rows = past.requests;
  list();
  draw();
  connect();
})();
