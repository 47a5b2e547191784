// Renders the document of the service that serves this page, and asks nobody else to validate it.
window.onload = () => {
  SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
};
