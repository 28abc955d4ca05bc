import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** `plan`, queue, reconcile and status code gets clock, timers, files and randomness passed in, so that it can be simulated. */
const injectedOnly = 'Injected in this folder: take it from the ports (see src/reconciler/ports.ts).';

export default tseslint.config(
  {ignores: ['dist*/**', 'node_modules/**', 'coverage/**']},
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: {parserOptions: {projectService: true, tsconfigRootDir: import.meta.dirname}},
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', {considerDefaultExhaustiveForUnions: true}],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', {argsIgnorePattern: '^_', varsIgnorePattern: '^_'}],
      '@typescript-eslint/require-await': 'off', // an async interface is also met by code that has nothing to wait for
      'no-restricted-imports': [
        'error',
        {
          paths: [
            {name: 'child_process', message: 'Use node:child_process.'},
            {name: 'fs', message: 'Use node:fs.'},
          ],
        },
      ],
      eqeqeq: ['error', 'always', {null: 'ignore'}],
      curly: ['error', 'multi-line'],
    },
  },
  {
    files: ['src/reconciler/**/*.ts'],
    rules: {
      'no-restricted-globals': [
        'error',
        ...['Date', 'setTimeout', 'setInterval', 'setImmediate', 'performance'].map(name => ({
          name,
          message: injectedOnly,
        })),
      ],
      'no-restricted-properties': ['error', {object: 'Math', property: 'random', message: injectedOnly}],
      'no-restricted-imports': [
        'error',
        {patterns: [{regex: '^(node:)?(fs|fs/promises|child_process|net|http|os|timers.*)$', message: injectedOnly}]},
      ],
    },
  },
  {
    files: ['**/*.mjs', '**/*.cjs'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        URL: 'readonly',
        setTimeout: 'readonly',
        clearTimeout: 'readonly',
        performance: 'readonly',
        Buffer: 'readonly',
        AbortSignal: 'readonly',
        fetch: 'readonly',
        setImmediate: 'readonly',
      },
    },
  },
);
