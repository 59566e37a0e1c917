import { QueryClientProvider } from '@tanstack/react-query';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { BrowserRouter } from 'react-router';
import { config } from 'zod';
import { newQueryClient } from './api.js';
import { App } from './app.js';
import { SessionGate } from './session/session.js';
import { applyTheme } from './session/theme-switch.js';
import './styles/tokens.css';
import './styles/base.css';
import './styles/layout.css';
import './styles/components.css';

// The api's content security policy forbids code made of text, which schemas would otherwise try.
config({ jitless: true });
applyTheme();

const root = document.getElementById('root');
if (root === null) throw new Error('the page has a root');
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={newQueryClient()}>
      <BrowserRouter>
        <SessionGate>
          <App />
        </SessionGate>
      </BrowserRouter>
    </QueryClientProvider>
  </StrictMode>,
);
