export { Marked } from "marked";
export { default as DOMPurify } from "dompurify";
export { default as morphdom } from "morphdom";
export { default as remend } from "remend";
