// ESLint for the pages' scripts and their tests; run from the checkout's root (make lint).

import js from "@eslint/js";
import globals from "globals";

const rules = {
  "array-callback-return": "error",
  complexity: ["error", 12],
  "consistent-return": "error",
  curly: ["error", "multi-line"],
  eqeqeq: "error",
  "max-depth": ["error", 3],
  "no-console": "error",
  "no-else-return": "error",
  "no-eval": "error",
  "no-implicit-coercion": "error",
  "no-lonely-if": "error",
  "no-new-func": "error",
  "no-param-reassign": "error",
  "no-promise-executor-return": "error",
  "no-return-assign": "error",
  "no-self-compare": "error",
  "no-shadow": "error",
  "no-template-curly-in-string": "error",
  "no-unneeded-ternary": "error",
  "no-unused-expressions": "error",
  "no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
  "no-use-before-define": ["error", { functions: false, classes: false, variables: false }],
  "no-useless-return": "error",
  "no-var": "error",
  "object-shorthand": "error",
  "prefer-const": "error",
  "prefer-object-spread": "error",
  "prefer-template": "error",
  radix: "error",
};

export default [
  js.configs.recommended,
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  { files: ["static/js/**/*.js", "static/*.js"], languageOptions: { sourceType: "module", globals: globals.browser }, rules },
  { files: ["tests/js/**/*.js"], languageOptions: { sourceType: "module", globals: globals.node }, rules },
];
