// The API as openapi.json describes it, with an example of every request.
"use strict";

function named(schema, all) {
  const reference = schema && schema.$ref;
  return reference ? all[reference.slice(reference.lastIndexOf("/") + 1)] : schema;
}

function command(method, path, example) {
  const lines = [`curl -X ${method.toUpperCase()} ${location.origin}${path}`];
  lines.push("  -H 'Authorization: Bearer KEY'");
  if (example) lines.push("  -H 'Content-Type: application/json'", `  -d '${JSON.stringify(example)}'`);
  return lines.join(" \\\n");
}

function fields(schema, all) {
  const rows = Object.entries(schema.properties || {}).map(([name, field]) => {
    const row = make("tr");
    const must = (schema.required || []).includes(name) ? "" : " (may be left out)";
    row.append(make("th", name, { scope: "row" }), make("td", (field.description || "") + must));
    return row;
  });
  const table = make("table", "", { class: "fields" });
  table.append(...rows);
  return table;
}

function route(path, method, operation, all) {
  const section = make("section");
  section.append(make("h2", `${method.toUpperCase()} ${path}`), make("p", operation.description || operation.summary));
  const content = operation.requestBody && operation.requestBody.content["application/json"];
  const schema = content && named(content.schema, all);
  if (schema) section.append(fields(schema, all));
  section.append(make("pre", command(method, path, schema && schema.examples && schema.examples[0])));
  return section;
}

tried(async () => {
  const api = await ask("GET", "/openapi.json");
  const all = api.components.schemas;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      byId("routes").append(route(path, method, operation, all));
    }
  }
});
