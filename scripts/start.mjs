/** `npm start`: from a fresh clone to a fleet that answers. Safe to repeat; leaves the fleet running. */
import {spawnSync} from 'node:child_process';
import {build, checkMachine, install, root, run} from './steps.mjs';

checkMachine();
install();
build();

const program = 'dist/tekton-ai.js';
run('converging tekton-ai.yaml', process.execPath, [program, 'up', '-f', 'tekton-ai.yaml']);
const question = 'Who are you, and what can you do for me?';
process.stdout.write(`\n$ npx tekton-ai chat athena "${question}"\n`);
const {status} = spawnSync(process.execPath, [program, 'chat', 'athena', question], {stdio: 'inherit', cwd: root});
if (status !== 0) process.exit(status ?? 1);
process.stdout.write(`
The fleet and its controller run in the background. Try next:
  npx tekton-ai chat rhetor              talk to another one
  npx tekton-ai get -w                   watch, while you edit and save tekton-ai.yaml in another window
  npx tekton-ai status                   health, memory, uptime
  npx tekton-ai diff                     what an edit would change, before the controller does it
  npx tekton-ai down                     stop everything
`);
