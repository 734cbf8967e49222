// Picks friends, shows one item after the other, and a list that follows the answers.
"use strict";

const LIST = 8;
const state = { friends: [], session: null, busy: false };

/** Ids may be numbers: those that are typed as one are sent as text, which is the same. */
function showFriends() {
  const chips = state.friends.map((friend) => {
    const chip = make("li");
    const remove = make("button", "×", { "aria-label": `without ${friend}`, title: `without ${friend}` });
    remove.addEventListener("click", () => removeFriend(friend));
    chip.append(make("span", friend), remove);
    return chip;
  });
  byId("friends").replaceChildren(...chips);
}

async function addFriend(event) {
  event.preventDefault();
  const friend = byId("friend").value.trim();
  byId("friend").value = "";
  if (!friend || state.friends.includes(friend)) return;
  state.friends.push(friend);
  showFriends();
  await friendsChanged();
}

async function removeFriend(friend) {
  state.friends = state.friends.filter((other) => other !== friend);
  showFriends();
  byId("friend").focus();
  await friendsChanged();
}

/** A session that is open goes on with the friends that count now. */
async function friendsChanged() {
  if (state.session) await change({ friends: state.friends });
}

async function change(body) {
  await tried(async () => show(await ask("PATCH", `/sessions/${state.session.session_id}`, body)));
}

/** Ids that begin with what is typed; a server without --demo does not tell any. */
async function suggest() {
  const prefix = byId("friend").value.trim();
  if (!prefix || suggest.off) return;
  try {
    const { users } = await ask("GET", `/users?prefix=${encodeURIComponent(prefix)}&k=8`);
    byId("people").replaceChildren(...users.map((user) => make("option", "", { value: user })));
  } catch (error) {
    suggest.off = error.status === 404;
  }
}

async function start() {
  await tried(async () => {
    const personal = !byId("impersonal").checked;
    const session = await ask("POST", "/sessions", { friends: state.friends, personal });
    byId("talk").hidden = false;
    show(session);
    byId("like").focus();
  });
}

/** Shows a session as the server has it. */
function show(session) {
  state.session = session;
  const item = session.next;
  byId("item-title").textContent = item ? item.title : "There is nothing left to show.";
  byId("item-note").textContent = item && item.chance !== null
    ? `chance of a yes: ${Math.round(100 * item.chance)}%` : "";
  for (const id of ["like", "dislike", "why"]) byId(id).disabled = !item;
  byId("undo").disabled = !session.answers.length;
  hideReasons();
  showAnswers(session.answers);
  showList(session); // not waited for: the next answer may come first
}

function showAnswers(answers) {
  const liked = answers.filter((answer) => answer.liked).length;
  byId("count").textContent = answers.length
    ? `${liked} of ${answers.length} liked` : "none yet";
  byId("answers").replaceChildren(...answers.toReversed().map((answer) => {
    const line = make("li");
    line.append(
      make("span", answer.liked ? "yes " : "no ", { class: answer.liked ? "good" : "bad" }),
      make("span", answer.title),
    );
    return line;
  }));
}

async function showList(session) {
  const pick = (liked) => session.answers.filter((a) => a.liked === liked).map((a) => a.item);
  const list = await tried(() => ask("POST", "/recommend", {
    friends: session.friends || [], liked: pick(true), disliked: pick(false),
    personal: session.personal, k: LIST,
  }), false);
  if (!list || state.session !== session) return; // of an older session
  byId("list").replaceChildren(...list.items.map((item) => make("li", item.title)));
  byId("unknown").textContent = list.unknown_friends.length
    ? `Nobody here has the id ${list.unknown_friends.join(", ")}.` : "";
}

async function answer(liked) {
  if (state.busy || !state.session || !state.session.next) return;
  state.busy = true;
  const { session_id: id, next } = state.session;
  await tried(async () => {
    try {
      show(await ask("POST", `/sessions/${id}/answers`, {
        recommendation_id: next.recommendation_id, liked,
      }));
    } catch (error) {
      if (error.status === 409) show(await ask("GET", `/sessions/${id}`));
      throw error;
    }
  });
  state.busy = false;
}

async function undo() {
  if (!state.session || !state.session.answers.length) return;
  await tried(async () => show(await ask("POST", `/sessions/${state.session.session_id}/undo`)));
}

function hideReasons() {
  byId("reasons").hidden = true;
  byId("reasons").replaceChildren();
  byId("why").setAttribute("aria-expanded", "false");
}

async function why() {
  if (!byId("reasons").hidden) return hideReasons();
  const { session_id, next } = state.session;
  return tried(async () => {
    const { reasons } = await ask("POST", "/explain", { session_id, item: next.item });
    byId("reasons").hidden = false;
    byId("reasons").replaceChildren(...reasons.map((reason) => make("li", reason)));
    byId("why").setAttribute("aria-expanded", "true");
  });
}

async function forget() {
  await tried(async () => {
    await ask("DELETE", `/sessions/${state.session.session_id}`);
    state.session = null;
    byId("talk").hidden = true;
    byId("start").focus();
  });
}

const KEYS = { ArrowRight: () => answer(true), ArrowLeft: () => answer(false), z: undo, w: why };

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input[type=text], input[type=password]");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !state.session) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || event.repeat) return;
  event.preventDefault();
  action();
});

byId("friend-form").addEventListener("submit", addFriend);
byId("friend").addEventListener("input", suggest);
byId("start").addEventListener("click", start);
byId("like").addEventListener("click", () => answer(true));
byId("dislike").addEventListener("click", () => answer(false));
byId("undo").addEventListener("click", undo);
byId("why").addEventListener("click", why);
byId("forget").addEventListener("click", forget);
byId("impersonal").addEventListener("change", (event) => {
  if (state.session) change({ personal: !event.target.checked });
});
onKey(() => state.session || start());
