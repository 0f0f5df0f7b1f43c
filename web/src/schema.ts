/** A JSON Schema in words. */

export interface Field {
  name: string;
  type: string;
  required: boolean;
  about: string;
}

type Schema = Record<string, unknown>;

/** The members of an object schema, in words; empty for what is no object. */
export function fields(schema: unknown): Field[] {
  if (typeof schema !== "object" || schema === null) return [];
  const { properties, required } = schema as Schema;
  if (typeof properties !== "object" || properties === null) return [];
  const needed = new Set(Array.isArray(required) ? required : []);
  return Object.entries(properties as Record<string, Schema>).map(([name, one]) => ({
    name,
    type: typeOf(one),
    required: needed.has(name),
    about: typeof one?.["description"] === "string" ? one["description"] : "",
  }));
}

function typeOf(schema: Schema): string {
  if (typeof schema !== "object" || schema === null) return "anything";
  const { type, enum: values, $ref: ref, items, anyOf } = schema;
  if (Array.isArray(values)) return values.map((one) => JSON.stringify(one)).join(" | ");
  if (type === "array" && items) return `array of ${typeOf(items as Schema)}`;
  if (typeof type === "string") return type;
  if (Array.isArray(type)) return type.join(" | ");
  if (typeof ref === "string") return ref.split("/").at(-1)!.replace(/\.v\d+\.json.*$/, "");
  if (Array.isArray(anyOf)) return anyOf.map((one) => typeOf(one as Schema)).join(" | ");
  return "anything";
}

/** What a schema says of itself. */
export function descriptionOf(schema: unknown): string {
  if (typeof schema !== "object" || schema === null) return "";
  const about = (schema as Schema)["description"];
  return typeof about === "string" ? about : "";
}
