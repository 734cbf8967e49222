// Numbers of the server, read again every few seconds.
"use strict";

const EVERY = 5000;
const ms = (value) => (value === null ? "–" : `${value.toFixed(1)} ms`);
const percent = (share) => `${(100 * share).toFixed(1)}%`;

const ROWS = [
  ["model in use", (o) => (o.model === null ? "none yet" : `${o.agent}, ${o.model}`)],
  ["exploration", (o) => o.exploration],
  ["up", (o) => `${Math.round(o.up_seconds / 60)} min`],
  ["requests in the last minute", (o) => o.requests_last_minute],
  ["half of the requests within", (o) => ms(o.p50_ms)],
  ["99% within", (o) => ms(o.p99_ms)],
  ["sessions kept", (o) => o.sessions],
  ["share of likes since the model is in use", (o) => (
    o.share_of_likes === null ? "–" : `${percent(o.share_of_likes)} of ${o.answers_judged} answers`)],
];

function show(overview) {
  byId("state").replaceChildren(...ROWS.map(([name, value]) => {
    const row = make("tr");
    row.append(make("th", name, { scope: "row" }), make("td", value(overview)));
    return row;
  }));
  const alarm = byId("alarm");
  alarm.className = overview.drift_alarm || overview.problem ? "bad" : "good";
  alarm.textContent = overview.problem
    ? `The last model was not used: ${overview.problem}`
    : overview.drift_alarm
      ? "Alarm: the share of likes has fallen since this model came into use."
      : "No alarm.";
  byId("no-days").textContent = overview.days.length ? "" : "No answers yet.";
  byId("days").replaceChildren(...overview.days.toReversed().map(dayRow));
}

function dayRow({ day, liked, answers }) {
  const share = answers ? liked / answers : 0;
  const row = make("tr");
  const bar = make("td");
  bar.append(make("meter", percent(share), { min: 0, max: 1, value: share, "aria-label": `${percent(share)} on ${day}` }));
  row.append(
    make("th", day, { scope: "row" }), make("td", answers, { class: "number" }),
    make("td", percent(share), { class: "number" }), bar,
  );
  return row;
}

async function refresh() {
  await tried(async () => show(await ask("GET", "/admin/overview")));
}

async function reload() {
  byId("reload").disabled = true;
  byId("reloaded").textContent = "loading, compiling, checking…";
  const done = await tried(() => ask("POST", "/admin/reload"));
  byId("reloaded").textContent = done
    ? `${done.changed ? "a new model is in use" : "the same model"} after ${done.seconds} s` : "";
  byId("reload").disabled = false;
  if (done) await refresh();
}

byId("reload").addEventListener("click", reload);
onKey(refresh);
refresh();
setInterval(() => { if (!document.hidden && byId("key-form").hidden) refresh(); }, EVERY);
