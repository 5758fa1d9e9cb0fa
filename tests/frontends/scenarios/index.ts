import { cloudevents } from "./cloudevents.js";
import { elements } from "./elements.js";
import type { Scenario } from "./env.js";
import { gifts } from "./gifts.js";
import { issues } from "./issues.js";
import { planner } from "./planner.js";
import { projects } from "./projects.js";

export const scenarios: Record<string, Scenario> = { elements, planner, gifts, issues, projects, cloudevents };
