// The OpenAPI document as forms and tables read it. Knows no page.

const isNull = (schema) => schema?.type === "null";

/** One schema without what only generators need: null beside a type or choice, "x-default". */
function plain(schema) {
  const { "x-default": applies, ...rest } = schema;
  if (Array.isArray(rest.type)) {
    const kinds = rest.type.filter((kind) => kind !== "null");
    rest.type = kinds.length === 1 ? kinds[0] : kinds;
  }
  if (Array.isArray(rest.enum)) rest.enum = rest.enum.filter((value) => value !== null);
  if (applies !== undefined) rest.default ??= applies;
  if (!rest.anyOf) return rest;
  const { anyOf, ...others } = rest;
  const kinds = anyOf.filter((kind) => !isNull(kind));
  return kinds.length === 1 ? { ...kinds[0], ...others } : { ...others, anyOf: kinds };
}

/** The document with `default` where a request's field says what applies, and without nulls. */
export function forForms(node) {
  if (Array.isArray(node)) return node.map(forForms);
  if (node === null || typeof node !== "object") return node;
  const { example, examples, ...rest } = node;
  const inner = Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, forForms(value)]));
  return { ...plain(inner), ...(example === undefined ? {} : { example }), ...(examples === undefined ? {} : { examples }) };
}
