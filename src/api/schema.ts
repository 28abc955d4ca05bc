/**
 * JSON Schemas (draft-07) of what people write. They are the one source of truth: ajv checks with them, editors
 * complete from the copies in `specs/`, and a test holds the two together.
 */
import {absolutePathText, hostPatternText, policySpec} from './policy-schema.js';
import {apiVersion, defaultPorts} from './types.js';

/** As much of a JSON Schema as we use. */
export interface JsonSchema {
  readonly $schema?: string;
  readonly $id?: string;
  readonly title?: string;
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly const?: string;
  readonly enum?: readonly (string | null)[];
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly items?: JsonSchema;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly propertyNames?: JsonSchema;
  readonly additionalProperties?: boolean | JsonSchema;
  readonly required?: readonly string[];
  readonly minItems?: number;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly if?: JsonSchema;
  readonly then?: JsonSchema;
  readonly else?: JsonSchema;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
}

export type DocumentKind = 'Fleet' | 'Specialist' | 'Expertise' | 'GitSource' | 'Policy';

/** What `$patch` may say of a specialist of the bases. */
export const layerPatches = ['delete', 'replace'] as const;

export const providerTypes = ['auto', 'ollama', 'anthropic', 'openai', 'offline', 'scripted'] as const;

/** Fields of the design that this version doesn't act on: refused, so that nobody believes that they do something. */
export const unsupportedFields: ReadonlySet<string> = new Set(['resources', 'isolation']);

const dnsLabel = '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$';
const componentName = '^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$';
const variableName = '^[A-Za-z_][A-Za-z0-9_]*$';
const httpUrl = '^https?://[^\\s/]+';
const headerName = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
const reasonPattern = '^[A-Za-z*]+$';
const namePattern = '^[a-z0-9*-]+$';
const cronSchedule = '^[0-9A-Za-z*,/#-]+( +[0-9A-Za-z*,/#-]+){4}$';
const fleetName = '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$';
const gitName = '^[^-/.\\s~^:?\\[\\\\][^\\s~^:?\\[\\\\]*$';
const commitId = '^([0-9a-f]{40}|[0-9a-f]{64})$';
const fingerprint = '^([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$';
const visibleText = '^[^\\s\\u0000-\\u001f]([^\\u0000-\\u001f]*[^\\s\\u0000-\\u001f])?$';

/** What a value must be, by the pattern that it failed. */
export const patternMeanings: Readonly<Record<string, string>> = {
  [dnsLabel]:
    'a DNS label: lower-case letters, digits and `-`, at most 63, beginning and ending with a letter or digit',
  [componentName]:
    "a component's name: lower-case letters, digits, `-` and `_`, at most 63, beginning and ending with a letter or digit",
  [variableName]: 'the name of an environment variable: letters, digits and `_`, not beginning with a digit',
  [httpUrl]: 'a URL that begins with http:// or https://',
  [headerName]: 'the name of an HTTP header',
  [reasonPattern]: 'the reason of an event: letters, and `*` for any',
  [namePattern]: "a specialist's name: lower-case letters, digits and `-`, and `*` for any",
  [fleetName]: "a fleet's name, or `namespace/name`",
  [cronSchedule]:
    'five fields as in crontab(5): minute, hour, day of month, month, day of week (`0 9 * * 1-5`: at nine from Monday to Friday)',
  [absolutePathText]: 'an absolute path',
  [hostPatternText]: '[http[s]://]host[:port]',
  [gitName]: 'the name of a branch or tag: no spaces, `..`, `~`, `^`, `:` or `?`, not beginning with `-` or `/`',
  [commitId]: 'a full commit id: 40 or 64 hexadecimal digits',
  [fingerprint]: "a key's full fingerprint: 40 or 64 hexadecimal digits",
  [visibleText]: 'one line of text without control characters or spaces at its ends',
};

const text = {type: 'string', minLength: 1} as const;
const name: JsonSchema = {type: 'string', pattern: dnsLabel};
const component: JsonSchema = {type: 'string', pattern: componentName};
const model: JsonSchema = {type: 'string', pattern: visibleText, maxLength: 256};

function mapping(
  properties: Readonly<Record<string, JsonSchema>>,
  rest: Omit<JsonSchema, 'properties'> = {},
): JsonSchema {
  return {type: 'object', ...rest, properties, additionalProperties: false};
}

const secretProperties = {
  env: {
    type: 'string',
    pattern: variableName,
    description: 'Environment variable, looked up where the worker is launched; then in .env.tekton.',
  },
  file: {...text, description: 'File that holds the secret, relative to this file; its content is trimmed.'},
} satisfies Record<string, JsonSchema>;

const secret = mapping(secretProperties, {
  title: 'Reference to a secret',
  description: 'Secrets are only ever referred to: by the name of an environment variable or by a file.',
  minProperties: 1,
  maxProperties: 1,
  examples: [{env: 'ANTHROPIC_API_KEY'}, {file: './lab.key'}],
});

const seconds = {type: 'number', minimum: 0.01, maximum: 86_400} satisfies JsonSchema;

const labels: JsonSchema = {
  title: 'Labels',
  description: 'Free names and values to select specialists by.',
  type: 'object',
  propertyNames: {maxLength: 317},
  additionalProperties: {type: 'string', maxLength: 63},
  examples: [{team: 'research'}],
};

const parameters = mapping(
  {
    temperature: {type: 'number', minimum: 0, maximum: 2, description: '0 is the most repeatable.', examples: [0.2]},
    topP: {type: 'number', exclusiveMinimum: 0, maximum: 1},
    maxTokens: {type: 'integer', minimum: 1, description: 'Longest answer, in tokens.', examples: [2048]},
    contextTokens: {
      type: 'integer',
      minimum: 1,
      description: "Context window to ask for, in tokens (Ollama's num_ctx).",
      examples: [16384],
    },
    stop: {type: 'array', items: text, maxItems: 16, description: 'Texts that end an answer.'},
    seed: {type: 'integer'},
  },
  {
    title: 'Parameters',
    description: "Sampling and size limits of an answer. What is absent is left to the provider's own default.",
  },
);

const expertiseProperties = {
  title: {...text, description: 'Who this specialist is, in a few words.', examples: ['The Knowledge Weaver']},
  expertise: {...text, description: 'What it knows.'},
  focus: {...text, description: 'What it pays attention to first.'},
  roles: {
    type: 'array',
    items: text,
    uniqueItems: true,
    description: 'What others look it up by.',
    examples: [['knowledge-graph', 'research']],
  },
  capabilities: {type: 'array', items: text, description: 'What it can be asked to do.'},
  personality: {...text, description: 'How it speaks.'},
  refersTo: {
    type: 'object',
    description: 'Component → which questions to send there.',
    propertyNames: component,
    additionalProperties: text,
    examples: [{engram: 'long-term memory'}],
  },
  systemPrompt: {
    ...text,
    description: 'Replaces the composed prompt; {{title}}, {{component}}, {{expertise}} and the like are filled in.',
  },
} satisfies Record<string, JsonSchema>;

const oneOrMoreTexts = {type: ['string', 'array'], minLength: 1, items: text, maxItems: 64} satisfies JsonSchema;

const canaryPrompt = mapping(
  {
    name: {type: 'string', pattern: visibleText, maxLength: 63, description: 'Absent: `prompt 1`, `prompt 2`, ….'},
    prompt: {...text, description: 'What is asked.', examples: ['What is the capital of France?']},
    system: {...text, description: "In place of the specialist's own system prompt."},
    contains: {
      ...oneOrMoreTexts,
      description: 'All of it must be in the answer, in any case of letters.',
      examples: ['Paris'],
    },
    notContains: {...oneOrMoreTexts, description: 'None of it may be in the answer, in any case of letters.'},
    matches: {
      ...text,
      maxLength: 1024,
      description: 'Regular expression (as JavaScript has them, with the flag u) that must match in the answer.',
      examples: ['^\\d+$'],
    },
    schema: {
      type: 'object',
      additionalProperties: true,
      description: 'JSON Schema (draft-07) that the answer, parsed as JSON, must meet; no references beyond itself.',
      examples: [{type: 'object', required: ['city']}],
    },
    maxLatencySeconds: {
      type: 'number',
      exclusiveMinimum: 0,
      maximum: 3600,
      description: 'Longest time to the whole answer.',
    },
    maxTokens: {type: 'integer', minimum: 1, description: 'Longest answer, in tokens.'},
    judge: mapping(
      {
        specialist: {...component, description: 'Name of another specialist of this fleet.', examples: ['rhetor']},
        question: {...text, examples: ['Is this a polite answer? Say yes or no.']},
        expect: {...text, description: 'How its answer must begin, in any case of letters.', examples: ['yes']},
      },
      {
        title: 'Judge',
        description: 'Is shown prompt and answer, and asked the question.',
        required: ['specialist', 'question', 'expect'],
      },
    ),
  },
  {title: 'Canary prompt', description: 'All that is said of the answer must hold.', required: ['prompt']},
);

const specialistProperties = {
  component: {
    ...component,
    title: 'Component',
    description:
      'Component of the platform that this specialist stands for: it gives the default name and the expertise.',
    examples: ['athena'],
  },
  enabled: {type: 'boolean', default: true, description: 'false: stays declared, but is not run.'},
  provider: {
    ...text,
    description: 'A provider of this fleet, or auto, ollama, anthropic, offline, scripted.',
    default: 'ollama',
    examples: ['auto'],
  },
  model: {
    ...model,
    title: 'Model',
    description: "Absent: the fleet's default, or the provider's own.",
    examples: ['llama3.3:70b', 'claude-sonnet-5-5'],
  },
  parameters,
  expertise: mapping(expertiseProperties, {
    title: 'Expertise overrides',
    description: "Fields that replace those of the component's expertise, one by one.",
  }),
  concurrency: mapping(
    {
      max: {type: 'integer', minimum: 1, maximum: 10_000, default: 4, description: 'Chats answered at the same time.'},
      queue: {
        type: 'integer',
        minimum: 0,
        maximum: 1_000_000,
        default: 64,
        description: 'Chats that wait; one more is refused.',
      },
      queueSeconds: {
        type: 'number',
        exclusiveMinimum: 0,
        maximum: 86_400,
        default: 300,
        description: 'How long a chat may wait before its call to the provider begins; then it fails.',
      },
    },
    {title: 'Concurrency'},
  ),
  sessions: mapping(
    {
      maxTurns: {
        type: 'integer',
        minimum: 1,
        maximum: 10_000,
        default: 50,
        description: 'Turns kept per session; the oldest go first.',
      },
      idleMinutes: {
        type: 'number',
        exclusiveMinimum: 0,
        maximum: 525_600,
        default: 60,
        description: 'A session that is silent for longer is forgotten.',
      },
      maxTokens: {
        type: 'integer',
        minimum: 1,
        description: 'Tokens kept per session, as estimated; the oldest turns go first.',
        examples: [16384],
      },
      persist: {type: 'boolean', default: false, description: 'true: sessions outlive the worker.'},
    },
    {title: 'Sessions', description: "Conversations kept on the worker, by the client's `session` name."},
  ),
  fallback: {
    title: 'Fallback',
    description:
      'Tried in order when the provider is unreachable, overloaded or fails; never after the first piece of an answer.',
    type: 'array',
    maxItems: 8,
    items: mapping(
      {
        provider: {...text, description: 'A provider of this fleet, or ollama, anthropic, offline, scripted.'},
        model: {...model, description: "Absent: the provider's default."},
      },
      {required: ['provider']},
    ),
    examples: [[{provider: 'anthropic', model: 'claude-sonnet-5-5'}]],
  },
  pull: {
    type: 'string',
    enum: ['Never', 'IfNotPresent'],
    default: 'Never',
    description: 'IfNotPresent: a model that Ollama lacks is fetched.',
  },
  overflow: {
    type: 'string',
    enum: ['error', 'trimOldest'],
    default: 'error',
    description: 'What becomes of a conversation that does not fit into the context window.',
  },
  budget: mapping(
    {
      tokensPerDay: {type: 'integer', minimum: 1, description: 'Input and output together, from midnight UTC.'},
      costPerDay: {
        type: 'number',
        exclusiveMinimum: 0,
        description: "In the currency of the providers' `prices`.",
      },
      mode: {
        type: 'string',
        enum: ['soft', 'hard'],
        default: 'soft',
        description: 'soft: an event tells when it is spent; hard: chats are refused until the next day.',
      },
    },
    {title: 'Budget', minProperties: 1, examples: [{tokensPerDay: 200_000, mode: 'hard'}]},
  ),
  auth: mapping(
    {token: {...secret, description: 'Token that every connection must show.'}},
    {title: 'Authentication', description: 'Required when `host` is not loopback.', required: ['token']},
  ),
  port: {
    type: 'integer',
    minimum: 1,
    maximum: 65535,
    description: "Pins the port, which must lie within the fleet's range. Absent: allocated, and kept.",
  },
  host: {
    type: 'string',
    pattern: '^[0-9A-Za-z.:_-]+$',
    default: '127.0.0.1',
    description: 'Address to listen on.',
    examples: ['127.0.0.1', '0.0.0.0'],
  },
  env: {
    title: 'Environment',
    description: "Variables of the worker's process: texts, or references to secrets.",
    type: 'object',
    propertyNames: {pattern: variableName},
    additionalProperties: {
      type: ['string', 'object'],
      properties: secretProperties,
      additionalProperties: false,
      minProperties: 1,
      maxProperties: 1,
    },
  },
  dependsOn: {
    type: 'array',
    items: component,
    uniqueItems: true,
    description: 'Names of specialists of this fleet that are started first.',
    examples: [['hermes']],
  },
  restartPolicy: {type: 'string', enum: ['Always', 'OnFailure', 'Never'], default: 'Always'},
  probes: mapping(
    {
      periodSeconds: {
        type: 'number',
        minimum: 0.05,
        maximum: 86_400,
        default: 10,
        description: 'Time between two looks.',
      },
      timeoutSeconds: {type: 'number', minimum: 0.05, maximum: 3600, default: 2},
      failureThreshold: {
        type: 'integer',
        minimum: 1,
        maximum: 1000,
        default: 3,
        description: 'Failures in a row after which a worker counts as hung.',
      },
      startupSeconds: {
        type: 'number',
        minimum: 0.05,
        maximum: 86_400,
        default: 30,
        description: 'Time from launch until the socket must answer.',
      },
    },
    {title: 'Probes'},
  ),
  terminationGracePeriodSeconds: {
    type: 'number',
    minimum: 0,
    maximum: 86_400,
    default: 30,
    description: 'How long chats under way may go on when the specialist is stopped.',
  },
  canary: mapping(
    {
      prompts: {
        type: 'array',
        items: canaryPrompt,
        maxItems: 64,
        description: 'Asked one after the other; none: no canary.',
      },
      passRate: {
        type: 'number',
        exclusiveMinimum: 0,
        maximum: 1,
        default: 1,
        description: 'Share of the prompts that must pass.',
      },
      attempts: {
        type: 'integer',
        minimum: 1,
        maximum: 10,
        default: 1,
        description: 'How often a prompt is asked until it passes.',
      },
      timeoutSeconds: {
        type: 'number',
        minimum: 0.05,
        maximum: 3600,
        default: 60,
        description: "For one answer, its judge's included.",
      },
      onFailure: {
        type: 'string',
        enum: ['rollback', 'warn'],
        default: 'rollback',
        description: 'rollback: it goes back to what it was before the change; warn: it stays, and an event says so.',
      },
    },
    {
      title: 'Canary',
      description: 'What the specialist is asked after a change of what answers, and what its answers must be like.',
      required: ['prompts'],
      examples: [{prompts: [{prompt: 'What is the capital of France?', contains: 'Paris'}]}],
    },
  ),
} satisfies Record<string, JsonSchema>;

const {component: _component, ...defaultableProperties} = specialistProperties;

/** What a hand can change of a worker that runs, and whoever declares it may leave; a provider has a key, and is whole. */
const driftFields = [
  ...['model', 'overflow', 'terminationGracePeriodSeconds'],
  ...(['parameters', 'expertise', 'concurrency', 'sessions', 'budget'] as const).flatMap(section => [
    section,
    `${section}.*`,
    ...Object.keys(specialistProperties[section].properties ?? {}).map(field => `${section}.${field}`),
  ]),
];

const driftActions = ['heal', 'warn', 'ignore'] as const;

const provider = mapping(
  {
    type: {type: 'string', enum: providerTypes, description: 'How to speak to it.'},
    baseUrl: {
      type: 'string',
      pattern: httpUrl,
      description: 'Required for `openai`.',
      examples: ['http://127.0.0.1:11434'],
    },
    apiKey: secret,
    defaultModel: {...model, description: 'Model of a specialist that names this provider and no model.'},
    keepAlive: {...text, description: "Ollama's keep_alive: how long the model stays loaded.", examples: ['5m', '-1']},
    script: {...text, description: 'Answers file of a `scripted` provider, relative to this file.'},
    maxConcurrency: {
      type: 'integer',
      minimum: 1,
      maximum: 1024,
      description: 'Calls under way at once, over all specialists of this machine that use it.',
    },
    timeouts: mapping(
      {
        connectSeconds: {...seconds, description: 'Until the connection is made.'},
        firstTokenSeconds: {...seconds, description: 'Until the answer begins; a cold model has to be loaded.'},
        idleSeconds: {...seconds, description: 'Between two pieces of an answer.'},
        totalSeconds: {...seconds, description: 'The whole answer.'},
      },
      {title: 'Timeouts'},
    ),
    prices: {
      title: 'Prices',
      description: 'Money per million tokens, by model; `*` is for every other.',
      type: 'object',
      additionalProperties: mapping(
        {
          input: {type: 'number', minimum: 0},
          output: {type: 'number', minimum: 0},
          cachedInput: {type: 'number', minimum: 0, description: 'Absent: as `input`.'},
        },
        {required: ['input', 'output']},
      ),
      examples: [{'claude-sonnet-5-5': {input: 3, output: 15, cachedInput: 0.3}}],
    },
  },
  {title: 'Provider', required: ['type']},
);

const textOrSecret = {
  type: ['string', 'object'],
  minLength: 1,
  properties: secretProperties,
  additionalProperties: false,
  minProperties: 1,
  maxProperties: 1,
} as const satisfies JsonSchema;

const template = {
  ...text,
  description: 'Mustache: {{reason}}, {{message}}, {{specialist}} and the like. Absent: the event as JSON.',
  examples: ['{"text": "{{fleet}}: {{reason}} {{specialist}} {{message}}"}'],
} as const satisfies JsonSchema;

const notification = mapping(
  {
    name: {...name, description: 'How people name it: in events, and in `notify test`.'},
    on: mapping(
      {
        reasons: {
          type: 'array',
          items: {type: 'string', pattern: reasonPattern},
          uniqueItems: true,
          description: 'Reasons of events; `*` stands for any letters. Absent: every one.',
          examples: [['CrashLoop', 'Source*']],
        },
        types: {
          type: 'array',
          items: {type: 'string', enum: ['Normal', 'Warning']},
          uniqueItems: true,
          description: 'Absent: Warning, or both where `reasons` are given.',
        },
        specialists: {
          type: 'array',
          items: {type: 'string', pattern: namePattern},
          uniqueItems: true,
          description: 'Names of specialists; `*` stands for any characters. Absent: all, and the fleet itself.',
          examples: [['athena', 'lab-*']],
        },
      },
      {title: 'Events', description: 'What is told. Absent: every Warning.'},
    ),
    minIntervalSeconds: {
      type: 'number',
      minimum: 0,
      maximum: 86_400,
      default: 0,
      description: 'Of one reason and specialist one message at most in this time; the rest is counted.',
    },
    webhook: mapping(
      {
        url: {...textOrSecret, pattern: httpUrl, description: 'Where to; one that is a secret is referred to.'},
        method: {type: 'string', enum: ['POST', 'PUT', 'PATCH'], default: 'POST'},
        headers: {
          type: 'object',
          propertyNames: {pattern: headerName},
          additionalProperties: textOrSecret,
          description: 'Texts, or references to secrets.',
          examples: [{Authorization: {env: 'HOOK_TOKEN'}}],
        },
        template,
        secret: {...secret, description: 'Signs the body: X-Tekton-Signature-256: sha256=HMAC.'},
        timeoutSeconds: {...seconds, default: 10, description: 'Of one try.'},
        retries: {type: 'integer', minimum: 0, maximum: 20, default: 5, description: 'Tries after the first.'},
      },
      {title: 'Webhook', required: ['url']},
    ),
    command: mapping(
      {
        argv: {
          type: 'array',
          items: {type: 'string'},
          description: "The program's absolute path and its arguments, in which {{reason}} and the like are filled in.",
          examples: [['/usr/local/bin/notify', '{{reason}}']],
        },
        timeoutSeconds: {...seconds, default: 30},
        env: {
          type: 'object',
          propertyNames: {pattern: variableName},
          additionalProperties: textOrSecret,
          description: 'Further variables: texts, or references to secrets.',
        },
      },
      {title: 'Command', required: ['argv']},
    ),
    file: mapping(
      {path: {...text, description: 'A line is appended for each; relative to this file.'}, template},
      {title: 'File', required: ['path']},
    ),
    commitStatus: mapping(
      {
        provider: {type: 'string', enum: ['github', 'gitlab', 'gitea'], description: 'gitea: Forgejo as well.'},
        repository: {
          type: 'string',
          pattern: '^[^/\\s]+(/[^/\\s]+)+$',
          description: "Absent: as the git source's URL says.",
          examples: ['acme/platform'],
        },
        apiUrl: {
          type: 'string',
          pattern: httpUrl,
          description: "Absent: follows from the git source's URL.",
          examples: ['https://git.example.com/api/v3'],
        },
        token: {...secret, description: 'Token that may set statuses of commits.'},
        context: {...text, maxLength: 255, description: 'Absent: tekton-ai/ and the name of the fleet.'},
        targetUrl: {type: 'string', pattern: httpUrl, description: 'Where the status leads whoever clicks on it.'},
      },
      {title: 'Commit status', required: ['provider', 'token']},
    ),
  },
  {
    title: 'Notification',
    required: ['name'],
    examples: [{name: 'chat', on: {types: ['Warning']}, webhook: {url: {env: 'SLACK_URL'}}}],
  },
);

const fleetSpec = mapping(
  {
    enabled: {type: 'boolean', default: true, description: 'false: the whole fleet is stopped.'},
    bases: {
      title: 'Bases',
      description: 'Fleets that this one lies over: their files, or folders with exactly one, relative to this file.',
      type: 'array',
      items: text,
      minItems: 1,
      maxItems: 64,
      uniqueItems: true,
      examples: [['../base']],
    },
    patches: {
      title: 'Patches',
      description: 'Fields for all specialists that a target means; applied in order, after all else is merged.',
      type: 'array',
      items: mapping(
        {
          target: mapping(
            {
              name: {...text, description: 'A name; `*` stands for any text.', examples: ['athena', '*']},
              component,
              labels: {...labels, description: 'All of them.'},
              optional: {type: 'boolean', default: false, description: 'true: that it means nobody is no error.'},
            },
            {title: 'Target', description: 'Who is meant: all that is said must hold.', minProperties: 1},
          ),
          patch: mapping(
            {labels, ...defaultableProperties},
            {title: 'Fields', description: 'Merged field by field; `null` takes a field away.'},
          ),
        },
        {title: 'Patch', required: ['target', 'patch']},
      ),
      examples: [[{target: {name: '*'}, patch: {pull: 'IfNotPresent'}}]],
    },
    variables: {
      title: 'Variables',
      description: 'Texts that stand for `${NAME}` in the documents of this fleet; they hold no secrets.',
      type: 'object',
      maxProperties: 256,
      propertyNames: {pattern: variableName},
      additionalProperties: mapping(
        {
          default: {type: ['string', 'number', 'boolean'], description: 'Where nothing else says a value.'},
          env: {
            type: 'string',
            pattern: variableName,
            description: 'Environment variable to read, after TEKTON_VAR_<name>.',
            examples: ['AWS_REGION'],
          },
          file: {...text, description: 'File that holds the value, relative to this file; trimmed, at most 64 KiB.'},
          description: {...text, description: 'What it is for.'},
          enum: {
            type: 'array',
            items: {type: ['string', 'number', 'boolean']},
            minItems: 1,
            maxItems: 256,
            description: 'What it may be.',
            examples: [['eu', 'us']],
          },
        },
        {title: 'Variable', description: 'Looked for in this order: --var, the environment, `file`, `default`.'},
      ),
      examples: [{REGION: {default: 'eu', enum: ['eu', 'us']}}],
    },
    include: {
      type: 'array',
      items: text,
      description: 'Files with Expertise and Specialist documents, relative to this file; `*` and `**` work.',
      examples: [['specs/specialists/*.yaml']],
    },
    providers: {
      title: 'Providers',
      description: 'Model servers by name. auto, ollama, anthropic, offline and scripted exist undeclared.',
      type: 'object',
      propertyNames: {pattern: dnsLabel},
      additionalProperties: provider,
      examples: [{lab: {type: 'openai', baseUrl: 'http://127.0.0.1:8000/v1', apiKey: {file: './lab.key'}}}],
    },
    defaults: mapping(defaultableProperties, {
      title: 'Defaults',
      description: 'For every specialist that does not say otherwise.',
      examples: [{provider: 'auto'}],
    }),
    ports: mapping(
      {
        from: {type: 'integer', minimum: 1024, maximum: 65535, default: defaultPorts.from},
        to: {type: 'integer', minimum: 1024, maximum: 65535, default: defaultPorts.to},
      },
      {title: 'Ports', description: 'Range that specialists get their ports from, both ends included.'},
    ),
    specialists: {
      type: 'array',
      description: 'The specialists of this fleet, beside those of Specialist documents.',
      items: mapping(
        {name: {...name, description: 'Absent: the component, with `_` as `-`.'}, labels, ...specialistProperties},
        {title: 'Specialist', required: ['component']},
      ),
    },
    allowMassPrune: {
      type: 'boolean',
      default: false,
      description: 'true: an edit may remove more than half of the fleet without being confirmed.',
    },
    rollback: mapping(
      {
        enabled: {type: 'boolean', default: true, description: 'false: a change stays, whatever comes of it.'},
        deadlineSeconds: {
          type: 'number',
          minimum: 1,
          maximum: 86_400,
          default: 120,
          description: 'Until the whole fleet must be Ready after a change, canaries included.',
        },
      },
      {
        title: 'Rollback',
        description: 'A change after which the fleet does not become healthy goes back to what was healthy last.',
        examples: [{enabled: true, deadlineSeconds: 120}],
      },
    ),
    driftPolicy: {
      type: ['string', 'object'],
      if: {type: 'string'},
      then: {enum: driftActions},
      properties: {
        default: {
          type: 'string',
          enum: driftActions,
          default: 'heal',
          description: 'Of all other fields, and of a worker that was told to drain.',
        },
        fields: {
          type: 'object',
          description: 'By field, or by what lies below one (`parameters.*`): the longest that matches counts.',
          propertyNames: {enum: driftFields},
          additionalProperties: {type: 'string', enum: driftActions},
        },
      },
      additionalProperties: false,
      default: 'heal',
      description:
        'What becomes of a worker that somebody reconfigured or drained by hand: put right, told of, or left alone.',
      examples: ['warn', {default: 'heal', fields: {model: 'ignore', 'parameters.*': 'warn'}}],
    },
    notifications: {
      type: 'array',
      items: notification,
      maxItems: 64,
      description: 'Who is told of events, and how.',
    },
    dependsOn: {
      title: 'Dependencies',
      description: 'Fleets that have to be as declared, and Ready, before a change of this one is taken over.',
      type: 'array',
      items: {type: 'string', pattern: fleetName},
      uniqueItems: true,
      maxItems: 64,
      examples: [['infra', 'shared/base']],
    },
    syncWindows: {
      title: 'Sync windows',
      description: 'When changes of the source are taken over by themselves. Absent: always.',
      type: 'array',
      maxItems: 64,
      items: mapping(
        {
          kind: {
            type: 'string',
            enum: ['allow', 'deny'],
            description: 'deny: not while it lasts, whatever others allow; allow: only while one of these lasts.',
          },
          schedule: {
            type: 'string',
            pattern: cronSchedule,
            maxLength: 256,
            description: 'When it begins: minute, hour, day of month, month, day of week.',
            examples: ['0 9 * * 1-5'],
          },
          durationSeconds: {
            type: 'integer',
            minimum: 60,
            maximum: 31_622_400,
            description: 'How long it lasts.',
            examples: [28_800],
          },
          timeZone: {
            ...text,
            default: 'UTC',
            description: 'What `schedule` is meant in, by its IANA name.',
            examples: ['Europe/Berlin'],
          },
          manual: {
            type: 'boolean',
            default: true,
            description: "false: while it keeps the fleet closed, a person's `apply` needs --ignore-windows.",
          },
        },
        {title: 'Sync window', required: ['kind', 'schedule', 'durationSeconds']},
      ),
      examples: [[{kind: 'allow', schedule: '0 9 * * 1-5', durationSeconds: 28_800, timeZone: 'Europe/Berlin'}]],
    },
  },
  {title: 'Fleet spec'},
);

function metadata(properties: Readonly<Record<string, JsonSchema>>): JsonSchema {
  const annotations: JsonSchema = {
    type: 'object',
    description: 'Notes for other tools; not read.',
    additionalProperties: {type: 'string'},
  };
  return mapping({...properties, labels, annotations}, {title: 'Metadata', required: ['name']});
}

const namespace: JsonSchema = {
  ...name,
  default: 'default',
  description: 'Outside of `default` it is part of the ai id.',
};

function document(kind: DocumentKind, description: string, meta: JsonSchema, spec: JsonSchema): JsonSchema {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $id: `https://tekton.ai/schemas/v1alpha1/${kind.toLowerCase()}.schema.json`,
    title: `tekton-ai ${kind}`,
    description,
    ...mapping(
      {
        apiVersion: {const: apiVersion, description: 'Version of this format.'},
        kind: {const: kind},
        metadata: meta,
        spec,
      },
      {required: ['apiVersion', 'kind', 'metadata', 'spec']},
    ),
  };
}

const gitSourceSpec = mapping(
  {
    url: {
      ...text,
      pattern: visibleText,
      maxLength: 2048,
      description: 'Repository: https, http, ssh, git or file, or user@host:path. Never with a password in it.',
      examples: ['https://git.example.com/acme/platform.git', 'git@git.example.com:acme/platform.git'],
    },
    branch: {
      type: 'string',
      pattern: gitName,
      maxLength: 256,
      description: "The branch to follow. Without branch, tag and commit: the remote's default.",
    },
    tag: {
      ...{type: 'string', pattern: gitName, maxLength: 256},
      description: 'The tag to follow; with `*`, the highest version of those that match.',
      examples: ['v1.*'],
    },
    commit: {type: 'string', pattern: commitId, description: 'This commit and no other.'},
    path: {
      ...text,
      pattern: visibleText,
      default: '.',
      description: 'File or folder in the repository that declares fleets.',
      examples: ['envs/dev'],
    },
    intervalSeconds: {
      ...{type: 'number', minimum: 1, maximum: 86_400, default: 60},
      description: 'Time between two looks at the repository.',
    },
    timeoutSeconds: {
      ...{type: 'number', minimum: 1, maximum: 3600, default: 60},
      description: 'How long one command of git may take.',
    },
    suspend: {type: 'boolean', default: false, description: 'true: not followed; what runs stays as it is.'},
    forcePush: {
      ...{type: 'string', enum: ['accept', 'refuse'], default: 'accept'},
      description: 'What becomes of a revision that does not descend from the one in force.',
    },
    verify: mapping(
      {
        object: {
          ...{type: 'string', enum: ['commit', 'tag'], default: 'commit'},
          description: 'What must be signed: the commit, or the annotated tag that is followed.',
        },
        ssh: mapping(
          {allowedSigners: {...text, description: 'Allowed signers as in ssh-keygen(1), relative to this file.'}},
          {title: 'SSH signatures', required: ['allowedSigners']},
        ),
        gpg: mapping(
          {
            fingerprints: {
              type: 'array',
              items: {type: 'string', pattern: fingerprint},
              description: 'Keys that count, by their full fingerprints.',
            },
            home: {...text, description: "Folder of the keyring (GNUPGHOME). Absent: the user's own."},
          },
          {title: 'GPG signatures', required: ['fingerprints']},
        ),
      },
      {title: 'Verification', description: 'Who must have signed what is followed: ssh or gpg.'},
    ),
    webhook: mapping(
      {
        port: {type: 'integer', minimum: 1, maximum: 65_535, description: 'Several sources may share one.'},
        host: {
          ...{type: 'string', pattern: '^[0-9A-Za-z.:_-]+$', default: '127.0.0.1'},
          description: 'Address to listen on.',
          examples: ['127.0.0.1', '0.0.0.0'],
        },
        secret: {
          ...secret,
          properties: {
            ...secretProperties,
            env: {...secretProperties.env, description: "Of the controller's own environment."},
          },
          description: "Key of the sender's HMAC, or GitLab's token; looked up by the controller.",
        },
      },
      {
        title: 'Listener for pushes',
        required: ['port', 'secret'],
        description: 'Where pushes are told: POST /hooks/<namespace>/<name>. The interval stays.',
        examples: [{port: 45_900, secret: {env: 'HOOK_SECRET'}}],
      },
    ),
  },
  {title: 'Git source spec', required: ['url']},
);

/** How ajv is to check: every problem at once, with what `validate` makes its words from. */
export const validation = {allErrors: true, verbose: true, messages: false, allowUnionTypes: true} as const;

/** One schema per kind, each complete in itself. */
export const schemas: Readonly<Record<DocumentKind, JsonSchema>> = {
  Fleet: document(
    'Fleet',
    'The specialists of one platform: defaults, providers, includes.',
    metadata({name: {...name, description: 'The fleet owns what it declares under this name.'}, namespace}),
    fleetSpec,
  ),
  Specialist: document(
    'Specialist',
    'One declared AI specialist.',
    metadata({name, namespace}),
    mapping(specialistProperties, {title: 'Specialist spec', required: ['component']}),
  ),
  Expertise: document(
    'Expertise',
    "Who a component's specialist is.",
    metadata({name: {...component, description: 'The component.'}}),
    mapping(
      {
        ...expertiseProperties,
        aliasOf: {
          ...component,
          description: 'Another component, whose expertise this one has but for the fields given here.',
        },
      },
      {title: 'Expertise spec', minProperties: 1},
    ),
  ),
  GitSource: document(
    'GitSource',
    'A branch, tag or commit of a git repository that an environment follows.',
    metadata({name: {...name, description: 'Fleets of the repository belong to the source of this name.'}, namespace}),
    gitSourceSpec,
  ),
  Policy: document(
    'Policy',
    "What git sources may do on this machine: the operator's own file, outside of any repository.",
    metadata({name}),
    policySpec,
  ),
};
