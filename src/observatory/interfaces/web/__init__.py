"""The built page; its sources are in web/, and Vite puts what it makes of them into dist/."""
