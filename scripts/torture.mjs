/** `npm run torture`: builds if need be, then tortures what was built. */
import {build, checkMachine} from './steps.mjs';

checkMachine();
if (!process.argv.includes('--package') && !process.env.TEKTON_AI_PACKAGE) build();
await import('../test/torture/run.mjs');
