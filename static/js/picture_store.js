// The pictures of drafts: Web Storage holds 5 MB, and a picture may have more.

const KEPT_DRAFTS = 8;
const STORE = "drafts";

/** Values by key in IndexedDB. Where the browser has none (a private window may not), nothing is kept. */
export class PictureStore {
  #opened = null;

  async get(key) {
    return this.#ask("readonly", (store) => store.get(key));
  }

  async put(key, value) {
    await this.#ask("readwrite", (store) => store.put(value, key));
    const keys = (await this.#ask("readonly", (store) => store.getAllKeys())) ?? [];
    if (keys.length > KEPT_DRAFTS) await this.#forgetOldest(keys);
  }

  async #forgetOldest(keys) {
    const values = (await this.#ask("readonly", (store) => store.getAll())) ?? [];
    const aged = keys.map((key, index) => [values[index]?.at ?? 0, key]).sort(([one], [other]) => other - one);
    for (const [, key] of aged.slice(KEPT_DRAFTS)) await this.#ask("readwrite", (store) => store.delete(key));
  }

  async #ask(mode, work) {
    try {
      this.#opened ??= finished(Object.assign(indexedDB.open("focal", 1), {
        onupgradeneeded: (event) => event.target.result.createObjectStore(STORE),
      }));
      const database = await this.#opened;
      return await finished(work(database.transaction(STORE, mode).objectStore(STORE)));
    } catch { // no IndexedDB, or no room: the page works without
      return undefined;
    }
  }
}

function finished(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });
}
