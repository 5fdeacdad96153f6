// Drives @huggingface/hub: see harness/drivers.py for the protocol.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";

import * as hub from "@huggingface/hub";

const { HF_ENDPOINT, HF_TOKEN, WH_TEST_USER, WH_TEST_REPO, WH_TEST_WORK } = process.env;
const { WH_TEST_SEED, WH_TEST_SEED_FILES, WH_TEST_SEED_COMMIT, WH_TEST_PRIVATE } = process.env;

// The library writes to the console; stdout is for answers alone.
globalThis.console = new console.Console(process.stderr);

const GGUF = "weights/tiny-Q4_0.gguf";
const LARGE_BYTES = 32 << 20;

const account = { hubUrl: HF_ENDPOINT, accessToken: HF_TOKEN };
const seed = { ...account, repo: WH_TEST_SEED };
const mine = { ...account, repo: WH_TEST_REPO };
const elsewhere = { ...account, repo: `${WH_TEST_REPO}-elsewhere` };

const large = randomBytes(LARGE_BYTES);
const edited = Buffer.concat([
	large.subarray(0, LARGE_BYTES / 2),
	Buffer.from("eighteen new bytes"),
	large.subarray(LARGE_BYTES / 2),
]);

async function all(generator) {
	const items = [];
	for await (const item of generator) items.push(item);
	return items;
}

async function fetched(params) {
	const blob = await hub.downloadFile(params);
	return blob && Buffer.from(await blob.arrayBuffer());
}

async function filesOf(folder) {
	const entries = await readdir(folder, { recursive: true, withFileTypes: true });
	const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
	return Promise.all(files.map(async (file) => [relative(folder, file), await readFile(file)]));
}

const seedFile = (path) => readFile(join(WH_TEST_SEED_FILES, path));
const upload = (params, path, content) => hub.uploadFile({ ...params, file: { path, content: new Blob([content]) } });
const hasStatus = (status) => (error) => error.statusCode === status;

const operations = {
	async whoami() {
		assert.equal((await hub.whoAmI(account)).name, WH_TEST_USER);
	},

	async "model info"() {
		const info = await hub.modelInfo({ ...account, name: WH_TEST_SEED, additionalFields: ["sha", "cardData", "tags"] });
		assert.equal(info.name, WH_TEST_SEED);
		assert.equal(info.sha, WH_TEST_SEED_COMMIT);
		assert.equal(info.cardData.license, "apache-2.0");
	},

	async "file exists"() {
		assert.equal(await hub.fileExists({ ...seed, path: "config.json" }), true);
		assert.equal(await hub.fileExists({ ...seed, path: "absent.json" }), false);
		assert.equal(await hub.repoExists(seed), true);
		assert.equal(await hub.repoExists({ ...account, repo: `${WH_TEST_USER}/absent` }), false);
	},

	async "download file"() {
		for (const path of ["config.json", "data/nested/deep name.txt", "data/empty.txt", GGUF]) {
			assert.deepEqual(await fetched({ ...seed, path }), await seedFile(path), path);
			assert.deepEqual(await fetched({ ...seed, path, xet: false }), await seedFile(path), path);
		}
	},

	async "download revision"() {
		for (const revision of ["v1.0", "feat/x", WH_TEST_SEED_COMMIT]) {
			assert.deepEqual(await fetched({ ...seed, path: "config.json", revision }), await seedFile("config.json"));
		}
	},

	async "download snapshot"() {
		const folder = await hub.snapshotDownload({ ...seed, cacheDir: join(WH_TEST_WORK, "cache") });
		for (const [path, content] of await filesOf(WH_TEST_SEED_FILES)) {
			assert.deepEqual(await readFile(join(folder, path)), content, path);
		}
	},

	async "read range"() {
		const wanted = (await seedFile(GGUF)).subarray(1_000_000, 1_001_000);
		for (const xet of [true, false]) {
			const blob = await hub.downloadFile({ ...seed, path: GGUF, xet });
			assert.deepEqual(Buffer.from(await blob.slice(1_000_000, 1_001_000).arrayBuffer()), wanted);
		}
	},

	async "safetensors metadata"() {
		const { header } = await hub.parseSafetensorsMetadata(seed);
		assert.deepEqual(header.weight, { dtype: "F32", shape: [50_000], data_offsets: [0, 200_000] });
	},

	async "list files"() {
		const entries = await all(hub.listFiles({ ...seed, recursive: true, expand: true }));
		const byPath = Object.fromEntries(entries.map((entry) => [entry.path, entry]));
		for (const [path, content] of await filesOf(WH_TEST_SEED_FILES)) assert.equal(byPath[path].size, content.length);
		assert.equal(byPath["data/nested"].type, "directory");
		assert.equal(byPath[GGUF].lfs.size, byPath[GGUF].size);
		const inside = await all(hub.listFiles({ ...seed, path: "data/nested" }));
		assert.deepEqual(inside.map((entry) => entry.path), ["data/nested/deep name.txt"]);
	},

	async "paths info"() {
		const found = await hub.pathsInfo({ ...seed, paths: ["config.json", "data", "absent"], expand: true });
		assert.deepEqual(found.map((entry) => [entry.path, entry.type]).sort(), [
			["config.json", "file"],
			["data", "directory"],
		]);
	},

	async "list commits"() {
		const commits = await all(hub.listCommits(seed));
		assert.equal(commits[0].oid, WH_TEST_SEED_COMMIT);
		assert.equal(commits.at(-1).title, "initial commit");
		assert.equal(await hub.countCommits(seed), commits.length);
	},

	async "search models"() {
		for (const search of [{ query: "seed" }, { owner: WH_TEST_USER }, { tags: ["license:apache-2.0"] }]) {
			const names = (await all(hub.listModels({ ...account, search }))).map((model) => model.name);
			assert.ok(names.includes(WH_TEST_SEED), JSON.stringify(search));
			assert.ok(!names.includes(WH_TEST_PRIVATE));
		}
	},

	async "missing things"() {
		await assert.rejects(hub.modelInfo({ ...account, name: `${WH_TEST_USER}/absent` }), hasStatus(404));
		await assert.rejects(all(hub.listFiles({ ...seed, revision: "absent" })), hasStatus(404));
		assert.equal(await hub.downloadFile({ ...seed, path: "absent.json" }), null);
	},

	async "private of another"() {
		await assert.rejects(hub.checkRepoAccess({ ...account, repo: WH_TEST_PRIVATE }), hasStatus(404));
	},

	async "create repository"() {
		await hub.createRepo(mine);
		await assert.rejects(hub.createRepo(mine), hasStatus(409));
	},

	async "upload file"() {
		const { commit } = await upload(mine, "notes/a.txt", "a line\n");
		const [head] = await all(hub.listCommits(mine));
		assert.equal(head.oid, commit.oid);
		assert.equal((await fetched({ ...mine, path: "notes/a.txt" })).toString(), "a line\n");
	},

	async "upload folder"() {
		const files = await filesOf(WH_TEST_SEED_FILES);
		const named = files.map(([path, content]) => ({ path: `copy/${path}`, content: new Blob([content]) }));
		await hub.uploadFiles({ ...mine, files: named });
		for (const [path, content] of files) {
			assert.deepEqual(await fetched({ ...mine, path: `copy/${path}` }), content, path);
		}
	},

	async "upload large file"() {
		await upload(mine, "large.bin", large);
		assert.deepEqual(await fetched({ ...mine, path: "large.bin" }), large);
	},

	async "upload with 18 bytes inserted"() {
		await upload(mine, "large.bin", edited);
	},

	async "upload identical file elsewhere"() {
		await hub.createRepo(elsewhere);
		await upload(elsewhere, "other.bin", large);
	},

	async "download large files"() {
		assert.deepEqual(await fetched({ ...elsewhere, path: "other.bin" }), large);
		assert.deepEqual(await fetched({ ...mine, path: "large.bin" }), edited);
	},

	async "stale parent commit"() {
		const commits = await all(hub.listCommits(mine));
		const late = { ...mine, parentCommit: commits.at(-1).oid };
		await assert.rejects(upload(late, "late.txt", "late"), hasStatus(412));
	},

	async branches() {
		await hub.createBranch({ ...mine, branch: "side/way" });
		await upload({ ...mine, branch: "side/way" }, "side.txt", "aside");
		const path = "side.txt";
		assert.equal((await fetched({ ...mine, path, revision: "side/way" })).toString(), "aside");
		assert.equal(await hub.fileExists({ ...mine, path }), false);
		await hub.deleteBranch({ ...mine, branch: "side/way" });
		await assert.rejects(all(hub.listFiles({ ...mine, revision: "side/way" })), hasStatus(404));
	},

	async "private repository"() {
		const repo = `${WH_TEST_REPO}-private`;
		await hub.createRepo({ ...account, repo, visibility: "private" });
		await upload({ ...account, repo }, "mine.txt", "mine");
		assert.equal((await fetched({ ...account, repo, path: "mine.txt" })).toString(), "mine");
		assert.equal(await hub.repoExists({ hubUrl: HF_ENDPOINT, repo }), false);
	},

	async "delete repository"() {
		await hub.deleteRepo(mine);
		assert.equal(await hub.repoExists(mine), false);
		assert.deepEqual(await fetched({ ...elsewhere, path: "other.bin" }), large);
	},
};

async function carryOut(operation) {
	if (!operation) return { outcome: "not applicable", detail: "the client has no such operation" };
	try {
		await operation();
		return { outcome: "passed" };
	} catch (error) {
		return { outcome: "failed", detail: String(error?.stack ?? error) };
	}
}

for await (const line of createInterface({ input: process.stdin })) {
	process.stdout.write(JSON.stringify(await carryOut(operations[line.trim()])) + "\n");
}
