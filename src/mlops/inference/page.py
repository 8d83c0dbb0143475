"""The page at ``/docs``: shows ``openapi.json`` of this API and sends a request, with nothing from elsewhere."""

from __future__ import annotations

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Predictions</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
textarea, input { width: 100%; box-sizing: border-box; font: 14px/1.4 ui-monospace, monospace; padding: .5rem; }
textarea { min-height: 14rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
td { overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .7rem; background: #8881; }
code { font-family: ui-monospace, monospace; }
</style>
<h1>Predictions</h1>
<p>Paste a token to see the models that it permits. It stays in this page and is sent to this API only.</p>
<p><label>Token <input id="token" type="password" autocomplete="off"></label></p>
<p><label>API key, where one is demanded <input id="key" type="password" autocomplete="off"></label></p>
<p><button id="load">Show</button> <span id="state" role="status"></span></p>
<div id="models"></div>
<h2>Routes</h2>
<table><thead><tr><th>Route<th>What it does</thead><tbody id="routes"></tbody></table>
<script>
"use strict";
const $ = (id) => document.getElementById(id);
const make = (name, text, parent) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};
const call = (path, options = {}) => fetch(path, {
  ...options, headers: {
    "Authorization": "Bearer " + $("token").value.trim(), "Content-Type": "application/json",
    ...($("key").value ? {"X-Api-Key": $("key").value.trim()} : {}),
  },
});
const example = (schema) => {
  const names = Object.entries(schema.properties.records.items.properties);
  const record = Object.fromEntries(names.map(([name, p]) => [name, (p.examples || [null])[0]]));
  return JSON.stringify({model: schema.properties.model.const, records: [record]}, null, 2);
};
const showModel = (schema) => {
  const part = make("section", undefined, $("models"));
  make("h2", schema.title, part);
  make("p", schema.description, part);
  const body = make("tbody", undefined, make("table", undefined, part));
  const required = schema.properties.records.items.required;
  for (const [name, p] of Object.entries(schema.properties.records.items.properties)) {
    const row = make("tr", undefined, body);
    make("code", name, make("td", undefined, row));
    make("td", [].concat(p.type).join(" or ") + (required.includes(name) ? "" : ", may be missing"), row);
    make("td", p.description || "", row);
  }
  const text = make("textarea", undefined, part);
  text.setAttribute("aria-label", "Request for " + schema.title);
  text.value = example(schema);
  const button = make("button", "Predict", part), answer = make("pre", "", part);
  button.onclick = async () => {
    const response = await call("predict", {method: "POST", body: text.value});
    answer.textContent = response.status + "\\n" + JSON.stringify(await response.json(), null, 2);
  };
};
$("load").onclick = async () => {
  $("state").textContent = "…";
  $("models").replaceChildren();
  $("routes").replaceChildren();
  try {
    const response = await call("openapi.json");
    if (!response.ok) throw new Error("the API answered " + response.status);
    const document_ = await response.json();
    (document_.components.schemas.PredictRequest.oneOf || []).forEach(showModel);
    for (const [path, methods] of Object.entries(document_.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (!operation.summary) continue;
        const row = make("tr", undefined, $("routes"));
        make("code", method.toUpperCase() + " " + path, make("td", undefined, row));
        make("td", operation.summary, row);
      }
    }
    $("state").textContent = "";
  } catch (error) {
    $("state").textContent = error.message;
  }
};
</script>
</html>
"""
