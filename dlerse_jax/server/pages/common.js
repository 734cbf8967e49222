// What the pages share: asking the API with a key, and saying what went wrong.
"use strict";

const byId = (id) => document.getElementById(id);

/** Asks the API: the parsed answer; an Error with its line otherwise. */
async function ask(method, path, body) {
  const headers = {};
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("the server cannot be reached");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401 && byId("key-form")) byId("key-form").hidden = false;
  const error = new Error(answer.error || `the server said ${response.status}`);
  error.status = response.status;
  throw error;
}

/** Runs something that asks; a problem is shown and read out, the last one is gone. */
async function tried(action, clears = true) {
  if (clears) byId("problem").textContent = "";
  try {
    return await action();
  } catch (error) {
    byId("problem").textContent = error.message;
    return undefined;
  }
}

/** An element with text and attributes. */
function make(name, text = "", attributes = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Keeps the key that is typed in for this tab, then goes on. */
function onKey(then) {
  const form = byId("key-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("key", byId("key").value.trim());
    form.hidden = true;
    then();
  });
}
