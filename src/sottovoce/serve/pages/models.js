// What the names of models mean: run, run:base and run:client.

function parts(name) {
  const colon = name.indexOf(":");
  return colon < 0 ? [name, null] : [name.slice(0, colon), name.slice(colon + 1)];
}

/** The text that says what a model is, and its values. */
export function meaning(name) {
  const [run, client] = parts(name);
  if (client === null) return ["modelFederated", { run }];
  return client === "base" ? ["modelBase", { run }] : ["modelPersonal", { run, client }];
}

/** The base model beneath a model; null where it is that itself. */
export function baseOf(name) {
  const base = `${parts(name)[0]}:base`;
  return base === name ? null : base;
}
