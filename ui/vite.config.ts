import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

/** Where the server serves these pages. Assets are named absolutely, because the policy forbids a <base>. */
const BASE = '/workflow_orchestration/';

/** Components of the kit that no page shows at first sight. */
const LATER = 'Modal|ModalBase|Drawer|ScrollArea|Overlay|Highlight|Mark|SegmentedControl|Alert|Progress|Portal|FocusTrap|RemoveScroll';
/** Components of the kit that only forms are made of. */
const FORMS = 'Textarea|Switch|NativeSelect|Combobox';

/** Which chunk a library travels in, so that the libraries stay cached while our own code changes. */
const CHUNKS: [name: string, test: RegExp][] = [
  ['react', /node_modules\/(react|react-dom|scheduler|use-sync-external-store)\//],
  ['code', /node_modules\/(@codemirror|codemirror|@lezer|style-mod|w3c-keyname|crelt)\//],
  ['canvas', /node_modules\/(@xyflow|d3-[a-z]+|zustand|classcat)\//],
  ['yaml', /node_modules\/yaml\//],
  ['data', /node_modules\/(@tanstack\/(?!.*virtual)|openapi-fetch)/],
  // What dialogs and the palette need comes with the first of them, and what only forms need with the first form.
  ['kit', new RegExp(`node_modules/(@mantine/(hooks/(?!esm/use-(focus-trap|focus-return|hotkeys)/)|core/esm/(?!utils/InlineInput/|components/(${LATER}|${FORMS})/))|clsx|get-nonce|use-(latest|composed-ref|isomorphic-layout-effect)/)`)],
  ['dialogs', new RegExp(`node_modules/(@mantine/(?!hooks/|core/esm/utils/InlineInput/|core/esm/components/(SegmentedControl|Alert|Progress|${FORMS})/)|@mantine/hooks/esm/use-(focus-trap|focus-return|hotkeys)/|react-remove-scroll|react-style-singleton|tslib|detect-node-es)`)],
];

export default defineConfig({
  base: BASE,
  plugins: [react()],
  // The server puts a fresh nonce in place of this word in each page.
  html: { cspNonce: '__APG_NONCE__' },
  build: {
    target: 'es2022',
    sourcemap: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {
        codeSplitting: { groups: CHUNKS.map(([name, test]) => ({ name, test })) },
      },
    },
  },
  worker: { format: 'es' },
  server: {
    port: 5173,
    proxy: Object.fromEntries(
      ['/api', '/health', '/docs'].map((path) => [path, process.env['APG_SERVER'] ?? 'http://127.0.0.1:5000']),
    ),
  },
  test: { include: ['src/**/*.test.ts', 'src/**/*.test.tsx'] },
} as Parameters<typeof defineConfig>[0]);
