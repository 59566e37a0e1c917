import react from '@vitejs/plugin-react';
import { defaultClientConditions, defineConfig } from 'vite';

/** For work on the pages: `API_URL=http://127.0.0.1:8080 npx vite apps/portal` shows them at once and passes requests on to that api. */
const api = process.env['API_URL'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  root: import.meta.dirname,
  plugins: [react()],
  resolve: { conditions: ['source', ...defaultClientConditions] },
  server: { proxy: { '/api': { target: api, changeOrigin: true } } },
  build: {
    outDir: '../../dist/apps/portal',
    emptyOutDir: true,
    target: 'es2023',
    // Every browser that we support preloads by itself, and the api's policy forbids scripts in the page.
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
