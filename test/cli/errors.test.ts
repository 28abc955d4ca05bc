import {describe, expect, it} from '@jest/globals';
import {ConflictError, InvalidInputError, TektonError} from '../../src/api/errors.js';
import {version} from '../../src/api/version.js';
import {errorText, exitCodeOf} from '../../src/cli/errors.js';

const quiet = {cwd: '/fleet', debug: false};

describe('the text of an error', () => {
  it('is the message with its causes, and the hint below', () => {
    const error = new TektonError('cannot start athena', {
      cause: new Error('model qwen3 not found on http://127.0.0.1:11434'),
      hint: 'ollama pull qwen3',
    });
    expect(errorText(error, quiet)).toMatchInlineSnapshot(`
     "error: cannot start athena: model qwen3 not found on http://127.0.0.1:11434
     hint: ollama pull qwen3
     "
    `);
    expect(exitCodeOf(error)).toBe(1);
  });

  it('keeps the exit code that the error brings', () => {
    expect(exitCodeOf(new ConflictError('taken'))).toBe(5);
    expect(exitCodeOf(new InvalidInputError([]))).toBe(4);
    expect(exitCodeOf(new TypeError('our bug'))).toBe(1);
  });

  it('lists every problem of every file by place, with source line, caret and hint', () => {
    const error = new InvalidInputError([
      {file: '/fleet/tekton-ai.yaml', line: 12, column: 3, message: 'late problem'},
      {
        file: '/fleet/tekton-ai.yaml',
        line: 9,
        column: 7,
        message: 'unknown field "modle"',
        hint: 'did you mean "model"?',
        excerpt: '      modle: llama3',
      },
      {file: '/elsewhere/numa.yaml', line: 1, column: 2, message: 'tabs', excerpt: '\t\tcomponent: numa'},
    ]);
    expect(errorText(error, quiet)).toMatchInlineSnapshot(`
     "/elsewhere/numa.yaml:1:2: tabs
       1 | 		component: numa
         | 	^
     tekton-ai.yaml:9:7: unknown field "modle"
       9 |       modle: llama3
         |       ^
       hint: did you mean "model"?
     tekton-ai.yaml:12:3: late problem
     error: invalid input: 3 problems; nothing was changed
     "
    `);
  });

  it('says that a bug is ours, and shows the stack only when asked to', () => {
    const bug = new TypeError("Cannot read properties of undefined (reading 'port')");
    expect(errorText(bug, quiet)).toBe(
      "internal error: Cannot read properties of undefined (reading 'port')\n" +
        'hint: TEKTON_AI_DEBUG=1 shows where it happened\n' +
        `This is a bug in tekton-ai ${version}: please report it on the issue tracker, with this text and the command.\n`,
    );
    expect(errorText(bug, {...quiet, debug: true})).toContain('at ');
    expect(errorText('thrown text', quiet)).toContain('internal error: thrown text');
  });

  it('takes what the system refuses for no bug of ours', () => {
    const refused = Object.assign(new Error("EACCES: permission denied, open '/x'"), {code: 'EACCES', syscall: 'open'});
    expect(errorText(refused, quiet)).toBe("error: EACCES: permission denied, open '/x'\n");
  });
});
