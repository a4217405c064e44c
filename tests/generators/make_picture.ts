// Makes a picture with the types that openapi-typescript writes: node make_picture.js URL KEY FILE.

import { writeFile } from "node:fs/promises";
import process from "node:process";
import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

const [url, key, file] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: url, headers: { "X-API-KEY": key } });

const body: components["schemas"]["GenerateRequest"] = {
  prompt: "a red star on a blue background",
  negative_prompt: null,
  image_seed: 7,
  performance_selection: "Lightning",
  outpaint_distance: [0, 0, 0, 0],
};

const made = await client.POST("/v1/engine/image", { body, params: { query: { as: "png" } }, parseAs: "arrayBuffer" });
if (made.error) throw new Error(JSON.stringify(made.error));
await writeFile(file, new Uint8Array(made.data as ArrayBuffer));

const shown = await client.GET("/v1/queue", { params: { query: { limit: 1 } } });
if (shown.data?.waiting !== 0) throw new Error("the queue is not empty");
